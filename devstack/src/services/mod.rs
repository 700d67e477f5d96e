//! Millrace's own services as real processes beside the stores: `millrace dev`, the demo and the whole-system tests start,
//! kill and stop them. This module knows how a service is started and asked, and nothing of its work.

mod address;
mod kind;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use kind::ServiceKind;

use crate::error::DevstackError;
use crate::process::Process;
use crate::services::address::{GRPC_VARIABLE, ServiceAddresses, reached_at};
use crate::tools::command::tail;
use crate::{spawner, wait};

/// How long a service may take to be ready once its stores are there.
const READY: Duration = Duration::from_secs(30);
/// How long a service may take to stop: its own grace period is 20 s.
const STOP: Duration = Duration::from_secs(25);
const PROBE: Duration = Duration::from_secs(1);

/// Where the binaries are, which environment they get, and where their logs go.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// The folder of the binaries.
    pub bin: PathBuf,
    /// Environment of all services: the stores' URLs, the namespace.
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

/// Fails if the address of one of these services is not free, before anything starts. As in
/// [`Service::start_configured`], `setting` looks settings up.
pub fn check_ports(
    kinds: impl IntoIterator<Item = ServiceKind>,
    setting: impl Fn(&str) -> Option<String>,
) -> Result<(), DevstackError> {
    kinds.into_iter().try_for_each(|kind| ServiceAddresses::configured(kind, &setting)?.check_free(kind))
}

/// A running (or killed) service. Its addresses stay the same over restarts.
#[derive(Debug)]
pub struct Service {
    kind: ServiceKind,
    label: String,
    addresses: ServiceAddresses,
    options: ServiceOptions,
    process: Option<Process>,
}

impl Service {
    /// Starts one on free ports. `label` names its log.
    pub fn start(kind: ServiceKind, label: &str, options: &ServiceOptions) -> Result<Self, DevstackError> {
        Self::start_on(kind, label, options, ServiceAddresses::free(kind)?)
    }

    /// Starts one at the addresses of its settings, which `setting` looks up; by default on the ports of CONTRACTS, on
    /// loopback. A setting that several services share (`MILLRACE_ADMIN_LISTEN`) counts only if its port is 0.
    pub fn start_configured(
        kind: ServiceKind,
        label: &str,
        options: &ServiceOptions,
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, DevstackError> {
        Self::start_on(kind, label, options, ServiceAddresses::configured(kind, setting)?)
    }

    fn start_on(
        kind: ServiceKind,
        label: &str,
        options: &ServiceOptions,
        addresses: ServiceAddresses,
    ) -> Result<Self, DevstackError> {
        addresses.check_free(kind)?;
        let (label, options) = (label.to_owned(), options.clone());
        let mut service = Self { kind, label, addresses, options, process: None };
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
        command.env(self.kind.listen_variable(), self.addresses.http.to_string());
        if let Some(address) = self.addresses.grpc {
            command.env(GRPC_VARIABLE, address.to_string());
        }
        std::fs::create_dir_all(&self.options.logs).map_err(DevstackError::file(&self.options.logs))?;
        self.process = Some(Process::of_child(spawner::spawn(command, &self.log(), false)?));
        Ok(())
    }

    /// Waits until `/readyz` answers 200, or the time is over.
    pub fn wait_ready(&mut self) -> Result<(), DevstackError> {
        let address = reached_at(self.addresses.http);
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
        let tail = tail(&std::fs::read_to_string(&log).unwrap_or_default());
        Err(DevstackError::NotReady { program: self.kind.name(), what, log, tail })
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), DevstackError> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// SIGTERM, then SIGKILL when its grace period must be over.
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

    /// The URL at which this machine reaches it: events, features, or the admin routes.
    pub fn url(&self) -> String {
        format!("http://{}", reached_at(self.addresses.http))
    }

    /// The address of its gRPC API, as `host:port`.
    pub fn grpc_address(&self) -> Option<String> {
        self.addresses.grpc.map(|address| reached_at(address).to_string())
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

/// A GET without an HTTP client, which is enough for a probe.
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

    /// Writes its addresses down, and stays.
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
            Service::start_configured(kind, kind.name(), &options, setting)
        };
        let (http, grpc) = (crate::ports::free().unwrap(), "127.0.0.3:0");
        let all = format!("0.0.0.0:{http}");
        let settings = [("MILLRACE_SERVE_LISTEN", all.as_str()), (GRPC_VARIABLE, grpc)];
        let server = start(ServiceKind::FeatureServer, &settings).unwrap();
        assert_eq!(server.url(), format!("http://127.0.0.1:{http}"));
        let grpc = server.grpc_address().unwrap();
        assert!(grpc.starts_with("127.0.0.3:") && !grpc.ends_with(":0"), "{grpc}");
        let lines = [format!("MILLRACE_SERVE_LISTEN={all}\n"), format!("{GRPC_VARIABLE}={grpc}\n")];
        let log = || std::fs::read_to_string(server.log()).unwrap_or_default();
        assert!(wait::until(READY, || lines.iter().all(|line| log().contains(line))), "{}", log());
        let admin = [("MILLRACE_ADMIN_LISTEN", "127.0.0.4:1")];
        match start(ServiceKind::OnlineConsumer, &admin) {
            Ok(consumer) => assert_eq!(consumer.url(), "http://127.0.0.1:9101"),
            Err(error) => assert!(error.to_string().contains("127.0.0.1:9101"), "{error}"),
        }
    }
}
