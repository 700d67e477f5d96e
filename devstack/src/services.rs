//! Our own services as real processes beside the stores: what `millrace dev`, the demo and the whole-system tests
//! start, kill and stop. Knows how they are started and asked, nothing of what they do.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::DevstackError;
use crate::process::Process;
use crate::{ports, spawner, wait};

/// How long a service may take to be ready once its stores are there.
const READY: Duration = Duration::from_secs(30);
/// How long a service may take to stop: its own grace period is 20 s.
const STOP: Duration = Duration::from_secs(25);
const PROBE: Duration = Duration::from_secs(1);
/// The setting of the address of gRPC services.
const GRPC_VARIABLE: &str = "MILLRACE_SERVE_GRPC_LISTEN";

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// Takes events.
    Ingest,
    /// Folds them into Redis and MongoDB.
    OnlineConsumer,
    /// Copies them to ClickHouse.
    OfflineConsumer,
    /// Answers models.
    FeatureServer,
    /// Runs batch views when they are due.
    Jobs,
}

impl ServiceKind {
    /// Those that make the line, in the order in which they are started.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::OnlineConsumer, Self::OfflineConsumer, Self::FeatureServer];

    /// Its name, which its log has too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::OnlineConsumer => "online-consumer",
            Self::OfflineConsumer => "offline-consumer",
            Self::FeatureServer => "feature-server",
            Self::Jobs => "run-jobs",
        }
    }

    /// Its binary, and what that is told.
    pub fn command(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Jobs => ("millrace", &["run-jobs"]),
            other => (other.name(), &[]),
        }
    }

    /// The port of CONTRACTS.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Ingest => 8080,
            Self::OnlineConsumer => 9101,
            Self::OfflineConsumer => 9102,
            Self::FeatureServer => 8081,
            Self::Jobs => 9103,
        }
    }

    /// The port of its gRPC services, if it has any.
    pub fn default_grpc_port(self) -> Option<u16> {
        (self == Self::FeatureServer).then_some(50_051)
    }

    /// The setting of its (HTTP) address.
    pub fn listen_variable(self) -> &'static str {
        match self {
            Self::Ingest => "MILLRACE_INGEST_LISTEN",
            Self::OnlineConsumer | Self::OfflineConsumer | Self::Jobs => "MILLRACE_ADMIN_LISTEN",
            Self::FeatureServer => "MILLRACE_SERVE_LISTEN",
        }
    }

    /// Whether its address may be told by its setting where all services are told the same: three share that of the
    /// admin routes, and cannot share an address.
    fn has_own_variable(self) -> bool {
        matches!(self, Self::Ingest | Self::FeatureServer)
    }
}

/// Where binaries are, what they are told, and where their logs go.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// The folder of the four binaries.
    pub bin: PathBuf,
    /// Environment for all: the stores' URLs, the namespace.
    pub env: Vec<(String, String)>,
    /// The folder of the logs.
    pub logs: PathBuf,
}

impl ServiceOptions {
    /// Binaries beside the running one; `target/<profile>/deps` counts as `target/<profile>`.
    pub fn beside_this_program(env: Vec<(String, String)>, logs: PathBuf) -> Result<Self, DevstackError> {
        let program = std::env::current_exe().map_err(DevstackError::file(Path::new("this program")))?;
        let mut bin = program.parent().unwrap_or(Path::new(".")).to_path_buf();
        if bin.ends_with("deps") {
            bin.pop();
        }
        Ok(Self { bin, env, logs })
    }
}

/// A running (or killed) service. Its addresses stay the same over restarts.
#[derive(Debug)]
pub struct Service {
    kind: ServiceKind,
    label: String,
    address: SocketAddr,
    grpc: Option<SocketAddr>,
    options: ServiceOptions,
    process: Option<Process>,
}

impl Service {
    /// Starts one on free ports. `label` names its log.
    pub fn start(kind: ServiceKind, label: &str, options: &ServiceOptions) -> Result<Self, DevstackError> {
        let grpc = kind.default_grpc_port().map(|_| free()).transpose()?;
        Self::start_on(kind, label, options, on_loopback(free()?), grpc.map(on_loopback))
    }

    /// Starts one where its settings say, which `setting` looks up; by default on the ports of CONTRACTS, on loopback.
    pub fn start_where_told(
        kind: ServiceKind,
        label: &str,
        options: &ServiceOptions,
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, DevstackError> {
        let told = |variable| setting(variable).filter(|text| !text.is_empty()).map(|text| told(variable, text));
        let own = if kind.has_own_variable() { told(kind.listen_variable()).transpose()? } else { None };
        let address = own.unwrap_or(on_loopback(kind.default_port()));
        let grpc = kind.default_grpc_port().map(|port| told(GRPC_VARIABLE).unwrap_or(Ok(on_loopback(port))));
        Self::start_on(kind, label, options, address, grpc.transpose()?)
    }

    fn start_on(
        kind: ServiceKind,
        label: &str,
        options: &ServiceOptions,
        address: SocketAddr,
        grpc: Option<SocketAddr>,
    ) -> Result<Self, DevstackError> {
        // Readiness is asked of the port: another program's answer would pass for ours.
        for address in [Some(address), grpc].into_iter().flatten() {
            if let Err(source) = TcpListener::bind(address) {
                return Err(DevstackError::Port { service: kind.name(), address, source });
            }
        }
        let (label, options) = (label.to_owned(), options.clone());
        let mut service = Self { kind, label, address, grpc, options, process: None };
        service.restart()?;
        Ok(service)
    }

    /// Starts it again after `kill` or `stop`, at the same addresses.
    pub fn restart(&mut self) -> Result<(), DevstackError> {
        let (binary, arguments) = self.kind.command();
        let binary = self.options.bin.join(binary);
        if !binary.exists() {
            let advice = format!("no {}; build all binaries with `cargo build`", binary.display());
            return Err(DevstackError::Missing { tool: self.kind.name(), advice });
        }
        let mut command = Command::new(binary);
        command.args(arguments);
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        command.env(self.kind.listen_variable(), self.address.to_string());
        if let Some(address) = self.grpc {
            command.env(GRPC_VARIABLE, address.to_string());
        }
        std::fs::create_dir_all(&self.options.logs).map_err(DevstackError::file(&self.options.logs))?;
        self.process = Some(Process::of_child(spawner::spawn(command, &self.log(), false)?));
        Ok(())
    }

    /// Waits until `/readyz` says yes, or the time is over.
    pub fn wait_ready(&mut self) -> Result<(), DevstackError> {
        let address = reached_at(self.address);
        let mut ended = false;
        let ready = wait::until(READY, || {
            ended = !self.process.as_mut().is_some_and(Process::is_alive);
            ended || get(address, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        if ready && !ended {
            return Ok(());
        }
        let what = if ended { "ended" } else { "is not ready" }.to_owned();
        let log = self.log();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let skip = text.lines().count().saturating_sub(20);
        let tail = text.lines().skip(skip).collect::<Vec<_>>().join("\n");
        Err(DevstackError::NotReady { store: self.kind.name(), what, log, tail })
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), DevstackError> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// SIGTERM, then SIGKILL once its grace period must be over.
    pub fn stop(&mut self) -> Result<(), DevstackError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(STOP))
    }

    /// SIGSTOP or SIGCONT.
    pub fn pause(&mut self, paused: bool) -> Result<(), DevstackError> {
        let signal = if paused { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Whether its process runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_alive)
    }

    /// Its pid while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.identity.pid)
    }

    /// Which binary.
    pub fn kind(&self) -> ServiceKind {
        self.kind
    }

    /// Where it is reached from here: events, features, or the admin routes.
    pub fn url(&self) -> String {
        format!("http://{}", reached_at(self.address))
    }

    /// The same of its gRPC services, as `host:port`.
    pub fn grpc_address(&self) -> Option<String> {
        self.grpc.map(|address| reached_at(address).to_string())
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.options.logs.join(format!("{}.log", self.label))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn on_loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn free() -> Result<u16, DevstackError> {
    ports::free().ok_or(DevstackError::Missing {
        tool: "free port",
        advice: "2000 ports on loopback are taken; stop what holds them".to_owned(),
    })
}

/// An address as a setting writes it. Port 0, which means a free one, must be one that we know.
fn told(variable: &'static str, text: String) -> Result<SocketAddr, DevstackError> {
    let address: SocketAddr = text.parse().map_err(|_| DevstackError::Address { variable, text })?;
    Ok(SocketAddr::new(address.ip(), if address.port() == 0 { free()? } else { address.port() }))
}

/// Where a client on this machine finds what listens there: on all addresses means on loopback too.
fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A GET without a client: enough for a probe.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PROBE).ok()?;
    stream.set_read_timeout(Some(PROBE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Writes down what it was told, and stays.
    const TOLD: &str = "#!/bin/sh\nenv | grep LISTEN\nexec sleep 600\n";

    #[test]
    fn a_service_listens_where_its_own_setting_says() {
        let folder = tempfile::tempdir().unwrap();
        let options = ServiceOptions { bin: folder.path().into(), env: Vec::new(), logs: folder.path().join("logs") };
        let start = |kind: ServiceKind, settings: &[(&str, &str)]| {
            let binary = folder.path().join(kind.command().0);
            std::fs::write(&binary, TOLD).unwrap();
            std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
            let setting = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
            Service::start_where_told(kind, kind.name(), &options, setting)
        };
        let (http, grpc) = (free().unwrap(), "127.0.0.3:0");
        let all = format!("0.0.0.0:{http}");
        let settings = [("MILLRACE_SERVE_LISTEN", all.as_str()), (GRPC_VARIABLE, grpc)];
        let server = start(ServiceKind::FeatureServer, &settings).unwrap();
        assert_eq!(server.url(), format!("http://127.0.0.1:{http}"));
        let grpc = server.grpc_address().unwrap();
        assert!(grpc.starts_with("127.0.0.3:") && !grpc.ends_with(":0"), "{grpc}");
        let lines = [format!("MILLRACE_SERVE_LISTEN={all}\n"), format!("{GRPC_VARIABLE}={grpc}\n")];
        let log = || std::fs::read_to_string(server.log()).unwrap_or_default();
        assert!(wait::until(READY, || lines.iter().all(|line| log().contains(line))), "{}", log());
        let error = start(ServiceKind::Ingest, &[("MILLRACE_INGEST_LISTEN", "8081")]).unwrap_err().to_string();
        assert_eq!(error, "MILLRACE_INGEST_LISTEN is `8081`, which is no address; write for example 127.0.0.1:8080");
        let admin = [("MILLRACE_ADMIN_LISTEN", "127.0.0.4:1")];
        match start(ServiceKind::OnlineConsumer, &admin) {
            Ok(consumer) => assert_eq!(consumer.url(), "http://127.0.0.1:9101"),
            Err(error) => assert!(error.to_string().contains("127.0.0.1:9101"), "{error}"),
        }
    }
}
