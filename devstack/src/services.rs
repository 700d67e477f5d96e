//! Our own services as real processes beside the stores: what `millrace dev`, the demo and the whole-system tests
//! start, kill and stop. Knows how they are started and asked, nothing of what they do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
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
            Self::FeatureServer => 6566,
            Self::Jobs => 9103,
        }
    }

    /// The port of its gRPC services, if it has any.
    pub fn default_grpc_port(self) -> Option<u16> {
        (self == Self::FeatureServer).then_some(50_051)
    }

    /// The setting of its (HTTP) port.
    pub fn listen_variable(self) -> &'static str {
        match self {
            Self::Ingest => "MILLRACE_INGEST_LISTEN",
            Self::OnlineConsumer | Self::OfflineConsumer | Self::Jobs => "MILLRACE_ADMIN_LISTEN",
            Self::FeatureServer => "MILLRACE_SERVE_LISTEN",
        }
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

/// A running (or killed) service. Its ports stay the same over restarts.
#[derive(Debug)]
pub struct Service {
    kind: ServiceKind,
    label: String,
    port: u16,
    grpc_port: Option<u16>,
    options: ServiceOptions,
    process: Option<Process>,
}

impl Service {
    /// Starts one on free ports. `label` names its log.
    pub fn start(kind: ServiceKind, label: &str, options: &ServiceOptions) -> Result<Self, DevstackError> {
        let free = || {
            ports::free().ok_or(DevstackError::Missing {
                tool: "free port",
                advice: "2000 ports on loopback are taken; stop what holds them".to_owned(),
            })
        };
        Self::start_on(kind, label, options, free()?, kind.default_grpc_port().map(|_| free()).transpose()?)
    }

    /// Starts one on the ports of CONTRACTS.
    pub fn start_on_usual_ports(
        kind: ServiceKind,
        label: &str,
        options: &ServiceOptions,
    ) -> Result<Self, DevstackError> {
        Self::start_on(kind, label, options, kind.default_port(), kind.default_grpc_port())
    }

    fn start_on(
        kind: ServiceKind,
        label: &str,
        options: &ServiceOptions,
        port: u16,
        grpc_port: Option<u16>,
    ) -> Result<Self, DevstackError> {
        // Readiness is asked of the port: another program's answer would pass for ours.
        for port in [Some(port), grpc_port].into_iter().flatten() {
            if let Err(source) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return Err(DevstackError::Port { service: kind.name(), port, source });
            }
        }
        let (label, options) = (label.to_owned(), options.clone());
        let mut service = Self { kind, label, port, grpc_port, options, process: None };
        service.restart()?;
        Ok(service)
    }

    /// Starts it again after `kill` or `stop`, on the same ports.
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
        command.env(self.kind.listen_variable(), format!("127.0.0.1:{}", self.port));
        if let Some(port) = self.grpc_port {
            command.env("MILLRACE_SERVE_GRPC_LISTEN", format!("127.0.0.1:{port}"));
        }
        std::fs::create_dir_all(&self.options.logs).map_err(DevstackError::file(&self.options.logs))?;
        self.process = Some(Process::of_child(spawner::spawn(command, &self.log(), false)?));
        Ok(())
    }

    /// Waits until `/readyz` says yes, or the time is over.
    pub fn wait_ready(&mut self) -> Result<(), DevstackError> {
        let port = self.port;
        let mut ended = false;
        let ready = wait::until(READY, || {
            ended = !self.process.as_mut().is_some_and(Process::is_alive);
            ended || get(port, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
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

    /// Where it listens: events, features, or the admin routes.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its gRPC services listen, as `host:port`.
    pub fn grpc_address(&self) -> Option<String> {
        self.grpc_port.map(|port| format!("127.0.0.1:{port}"))
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

/// A GET without a client: enough for a probe.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PROBE).ok()?;
    stream.set_read_timeout(Some(PROBE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
