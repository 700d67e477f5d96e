//! Binding a listener: at the address that was asked for, or an error that says which port is taken and how to choose
//! another. A process never falls back to a port that nobody asked for.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("port {} on {} is taken; {advice}", address.port(), address.ip())]
    Taken {
        /// The address that was asked for.
        address: SocketAddr,
        /// How to choose another.
        advice: String,
    },
    /// The system refused for another reason.
    #[error("failed to listen on {address}: {source}")]
    Refused {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// Listens on `address`, which the environment variable `setting` chooses.
pub async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, ListenError> {
    bind_or_advise(address, || format!("stop the process that has it, or choose another with {setting}")).await
}

/// Listens where a worker serves health and metrics. Port 0 takes a free port: the way to run a second worker on one
/// machine.
pub async fn bind_admin(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let advice = || {
        let ip = address.ip();
        format!("another worker may run here; set MILLRACE_ADMIN_LISTEN={} for a second worker", SocketAddr::new(ip, 0))
    };
    bind_or_advise(address, advice).await
}

async fn bind_or_advise(address: SocketAddr, advice: impl FnOnce() -> String) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { address, advice: advice() },
        _ => ListenError::Refused { address, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error_that_says_how_to_choose_another() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let port = address.port();
        let refused = bind_admin(address).await.unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "port {port} on 127.0.0.1 is taken; another worker may run here; \
                 set MILLRACE_ADMIN_LISTEN=127.0.0.1:0 for a second worker"
            )
        );
        let refused = bind(address, "MILLRACE_LISTEN").await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("port {port} on 127.0.0.1 is taken;")), "{refused}");
        assert!(refused.ends_with("or choose another with MILLRACE_LISTEN"), "{refused}");
        let free = bind_admin("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_ne!(free.local_addr().unwrap().port(), 0);
    }
}
