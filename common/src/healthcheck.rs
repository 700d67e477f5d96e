//! `--healthcheck`: a binary asks the process that runs with the same settings whether it is ready. The image of a container
//! has neither a shell nor an HTTP client, so the binary itself is the check.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// The time for connecting, for sending and for each read. The runner of the check has a longer limit of its own.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer, in bytes. An answer of Millrace is a line.
const MAX_ANSWER: u64 = 64 * 1024;

/// Asks `/readyz` of the process that listens on `listen`. The error of a process that is not ready names the thing for which
/// it waits. Blocks.
pub fn ask(listen: SocketAddr) -> anyhow::Result<()> {
    let address = reachable(listen);
    let answer = get(address, "/readyz").with_context(|| format!("failed to ask {address}; is it running?"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, _)) if head.starts_with("HTTP/1.1 200 ") => Ok(()),
        Some((_, body)) => bail!("not ready: {}", body.trim()),
        None => bail!("{address} does not speak HTTP"),
    }
}

/// The address at which a listener on this machine is reached: loopback for one that listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::process::{Readiness, admin_routes, serve};

    async fn asked(listen: SocketAddr) -> Result<(), String> {
        tokio::task::spawn_blocking(move || ask(listen)).await.unwrap().map_err(|error| format!("{error:#}"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_answer_is_the_one_of_readyz() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        assert!(listen.ip().is_unspecified());
        let readiness = Readiness::waiting("the log");
        let routes = admin_routes(PrometheusBuilder::new().build_recorder().handle(), readiness.clone());
        tokio::spawn(serve(listener, routes, CancellationToken::new()));

        assert_eq!(asked(listen).await, Err("not ready: waiting for the log".into()));
        readiness.set_ready();
        assert_eq!(asked(listen).await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_there_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        drop(listener);
        assert!(asked(listen).await.unwrap_err().starts_with("failed to ask 127.0.0.1:"));
    }
}
