//! The demo's own installation: a namespace on its stores, the release binaries, and the replay that feeds them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use millrace_devstack::Stack;
use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use serde_json::Value;

use crate::demo::DemoArgs;
use crate::journey;
use crate::shell::{exec, root};

/// How long both groups may take to drain once the last event is sent.
const DRAIN: Duration = Duration::from_secs(900);

pub(crate) struct Installation {
    pub(crate) namespace: String,
    pub(crate) dir: PathBuf,
    bin: PathBuf,
    env: Vec<(String, String)>,
}

impl Installation {
    pub(crate) fn new(stack: &Stack, dir: &Path) -> Self {
        let namespace = format!("demo_{}", std::process::id());
        let mut env = stack.env();
        env.push(("MILLRACE_NAMESPACE".into(), namespace.clone()));
        Self { namespace, dir: dir.to_path_buf(), bin: root().join("target/release"), env }
    }

    /// The `millrace` command in this installation.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("millrace"));
        command.args(arguments).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn millrace(&self, arguments: &[&str]) -> anyhow::Result<()> {
        exec(&mut self.command(arguments))
    }

    /// Starts the services in the order of [`ServiceKind::ALL`], and waits until each is ready.
    pub(crate) fn start_all(&self) -> anyhow::Result<Vec<Service>> {
        let options = ServiceOptions { bin: self.bin.clone(), env: self.env.clone(), logs: self.dir.join("logs") };
        let start = |kind: ServiceKind| Service::start(kind, kind.name(), &options);
        let mut services = ServiceKind::ALL.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        for service in &mut services {
            service.wait_ready()?;
            eprintln!("xtask: {} at {}", service.kind().name(), service.url());
        }
        Ok(services)
    }

    /// Starts `millrace replay` of the data set; it writes its counts into `report`.
    pub(crate) fn replay(&self, args: &DemoArgs, data: &Path, report: &Path, url: &str) -> anyhow::Result<Child> {
        let mut command = self.command(&["replay", "--shift-to-now", "--url", url]);
        for mapping in ["transactions", "redemptions", "demographics"] {
            command.arg("--mapping").arg(journey::folder().join(format!("replay/{mapping}.yaml")));
        }
        command.arg("--from").arg(data).arg("--report").arg(report);
        if !args.all {
            command.arg("--last").arg(args.last.to_string());
        }
        if let Some(rate) = args.rate {
            command.arg("--rate").arg(rate.to_string());
        }
        command.spawn().context("failed to run millrace replay")
    }

    /// Waits until every sink has done everything that the log holds.
    pub(crate) fn wait_drained(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DRAIN;
        loop {
            let output = self.command(&["status", "--json"]).output()?;
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            if status["drained"] == true {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the groups have not drained: {status}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
