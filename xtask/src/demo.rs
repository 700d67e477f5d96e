//! `cargo xtask demo`: the whole line on real data, checked value by value by another engine. Faults can be asked for,
//! and must change nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use millrace_devstack::{Stack, StackOptions};
use serde_json::{Value, json};

use crate::journey;
use crate::shell::{cargo, exec, root};

/// How long both groups may take to drain once the last event is sent.
const DRAIN: Duration = Duration::from_secs(900);

#[derive(Args)]
pub struct DemoArgs {
    /// All 1.4 million transactions, not only the last 200,000.
    #[arg(long)]
    all: bool,

    /// So many of the last transactions.
    #[arg(long, default_value_t = 200_000, conflicts_with = "all")]
    last: usize,

    /// Send so many events a second; flat out without it.
    #[arg(long)]
    rate: Option<f64>,

    /// Kill -9 each service so many times, at random points of the replay.
    #[arg(long, default_value_t = 0)]
    kill: u32,

    /// Stop a store for so many seconds during the replay: `mongodb=60` or `clickhouse=60`.
    #[arg(long, value_parser = parse_outage)]
    outage: Vec<(String, u64)>,

    /// Draws the keys that are checked, and the faults.
    #[arg(long, default_value_t = 4)]
    seed: u64,

    /// Keep the logs and the stores' data.
    #[arg(long)]
    keep: bool,
}

fn parse_outage(text: &str) -> Result<(String, u64), String> {
    let (store, seconds) = text.split_once('=').ok_or("write for example mongodb=60")?;
    if !["mongodb", "clickhouse"].contains(&store) {
        return Err("a store is mongodb or clickhouse".into());
    }
    Ok((store.to_owned(), seconds.parse().map_err(|_| "seconds are a whole number")?))
}

/// Sets everything up, runs, checks, and leaves nothing running.
async fn line_and_check(args: &DemoArgs, dir: &Path) -> anyhow::Result<Value> {
    exec(&mut cargo(&["build", "--release"]))?;
    let python = journey::python()?;
    let data = journey::data(&python)?;
    let stack = Stack::up(StackOptions::from_env(dir.join("stores"))).await?;
    eprintln!("xtask: on {}, {} and {}", stack.redis().server(), stack.mongodb().server(), stack.clickhouse().server());
    let mut env = stack.env();
    let namespace = format!("demo_{}", std::process::id());
    env.push(("MILLRACE_NAMESPACE".into(), namespace.clone()));
    let line = Line { bin: root().join("target/release"), env, dir: dir.to_path_buf() };
    line.millrace(&["migrate"])?;
    line.millrace(&["apply", &journey::folder().join("millrace.yaml").to_string_lossy()])?;
    let mut services = line.start_all()?;
    let report = dir.join("replay.json");
    let started = Instant::now();
    line.replay(args, &data, &report, &services[0].url(), &mut services, &stack).await?;
    let sent_s = started.elapsed().as_secs_f64();
    line.wait_drained()?;
    eprintln!("xtask: replayed in {sent_s:.1} s, drained after {:.1} s", started.elapsed().as_secs_f64());
    let mut checked = line.check(&python, &data, &report, &services[3], args.seed)?;
    let orders = line.check_orders(&python, &data, &report, &services[3])?;
    checked["check_passed"] = (checked["check_passed"] == true && orders["check_passed"] == true).into();
    checked["batch"] = orders;
    let summary = line.summary(&stack, &namespace, &report, checked).await?;
    for mut service in services {
        service.stop()?;
    }
    stack.down().await?;
    Ok(summary)
}

/// Runs the demo and judges it: any mismatch, loss or duplicate is an error.
pub async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("millrace-demo-").tempdir()?;
    let summary = line_and_check(args, dir.path()).await;
    if args.keep || summary.is_err() {
        eprintln!("xtask: logs are kept in {}", dir.keep().display());
    }
    let summary = summary?;
    println!("{summary}");
    let number = |name: &str| summary[name].as_i64().unwrap_or(-1);
    let exact = number("mismatches") == 0
        && summary["batch"]["mismatches"] == 0
        && number("events_sent") == number("accepted")
        && number("accepted") == number("clickhouse_rows")
        && number("clickhouse_rows") == number("clickhouse_distinct")
        && summary["check_passed"] == true;
    if exact { Ok(()) } else { bail!("the demo found mismatches, losses or duplicates") }
}

struct Line {
    bin: PathBuf,
    env: Vec<(String, String)>,
    dir: PathBuf,
}

impl Line {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("millrace"));
        command.args(arguments).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn millrace(&self, arguments: &[&str]) -> anyhow::Result<()> {
        exec(&mut self.command(arguments))
    }

    fn start_all(&self) -> anyhow::Result<Vec<Service>> {
        let options = ServiceOptions { bin: self.bin.clone(), env: self.env.clone(), logs: self.dir.join("logs") };
        let start = |kind: ServiceKind| Service::start(kind, kind.name(), &options);
        let mut services = ServiceKind::ALL.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        for service in &mut services {
            service.wait_ready()?;
            eprintln!("xtask: {} at {}", service.kind().name(), service.url());
        }
        Ok(services)
    }

    async fn replay(
        &self,
        args: &DemoArgs,
        data: &Path,
        report: &Path,
        url: &str,
        services: &mut [Service],
        stack: &Stack,
    ) -> anyhow::Result<()> {
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
        let mut replay = command.spawn().context("failed to run millrace replay")?;
        let mut faults = Faults::new(args);
        let status = loop {
            if let Some(status) = replay.try_wait()? {
                break status;
            }
            faults.step(services, stack).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        faults.finish(services, stack).await?;
        if !status.success() {
            bail!("the replay failed: {status}");
        }
        Ok(())
    }

    fn wait_drained(&self) -> anyhow::Result<()> {
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

    fn check(&self, python: &Path, data: &Path, report: &Path, server: &Service, seed: u64) -> anyhow::Result<Value> {
        let mut command = Command::new(python);
        command.arg(journey::folder().join("check/check.py")).arg("--data").arg(data).arg("--report").arg(report);
        judged(command.args(["--url", &server.url(), "--seed", &seed.to_string()]))
    }

    /// Runs the batch view, then compares it for every household over all doors.
    fn check_orders(&self, python: &Path, data: &Path, report: &Path, server: &Service) -> anyhow::Result<Value> {
        let ran = self.command(&["materialize", "household_orders", "--json"]).output()?;
        eprint!("{}", String::from_utf8_lossy(&ran.stderr));
        if !ran.status.success() {
            bail!("millrace materialize failed: {}", ran.status);
        }
        let run = self.dir.join("materialized.json");
        std::fs::write(&run, ran.stdout)?;
        let mut command = Command::new(python);
        command
            .arg(journey::folder().join("check/check_orders.py"))
            .arg("--data")
            .arg(data)
            .arg("--report")
            .arg(report);
        command.arg("--run").arg(run).arg("--protos").arg(root().join("feature-server/proto"));
        let grpc = server.grpc_address().context("the feature server has no gRPC port")?;
        judged(command.args(["--url", &server.url(), "--grpc", &grpc]))
    }

    async fn summary(&self, stack: &Stack, namespace: &str, report: &Path, checked: Value) -> anyhow::Result<Value> {
        let report: Value = serde_json::from_str(&std::fs::read_to_string(report)?)?;
        let rows = clickhouse(stack, namespace, "SELECT count() FROM events").await?;
        let distinct = clickhouse(stack, namespace, "SELECT uniqExact(source, event_id) FROM events").await?;
        let mut summary = json!({
            "events_sent": report["sent"],
            "accepted": report["accepted"],
            "clickhouse_rows": rows,
            "clickhouse_distinct": distinct,
        });
        for (name, value) in checked.as_object().into_iter().flatten() {
            summary[name] = value.clone();
        }
        Ok(summary)
    }
}

/// What a check of values prints: a table, and at the end its counts as a line of JSON.
fn judged(check: &mut Command) -> anyhow::Result<Value> {
    let output = check.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let (table, last) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    if !table.is_empty() {
        println!("{table}");
    }
    let mut counts: Value = serde_json::from_str(last).with_context(|| format!("the check ended with: {last}"))?;
    counts["check_passed"] = output.status.success().into();
    Ok(counts)
}

async fn clickhouse(stack: &Stack, namespace: &str, query: &str) -> anyhow::Result<i64> {
    let url = format!("{}/?database={namespace}", stack.clickhouse_url());
    let text = reqwest::Client::new().post(url).body(query.to_owned()).send().await?.text().await?;
    text.trim().parse().with_context(|| format!("`{query}` answered {text}"))
}

/// Faults spread over the replay, drawn from a seed.
struct Faults {
    kills: Vec<ServiceKind>,
    outages: Vec<(String, u64)>,
    next: Instant,
    every: Duration,
    random: u64,
    stopped: Option<(String, Instant)>,
}

impl Faults {
    fn new(args: &DemoArgs) -> Self {
        let mut random = args.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut kills: Vec<ServiceKind> =
            ServiceKind::ALL.into_iter().flat_map(|kind| std::iter::repeat_n(kind, args.kill as usize)).collect();
        for index in (1..kills.len()).rev() {
            kills.swap(index, next_random(&mut random) as usize % (index + 1));
        }
        let every = Duration::from_millis(1_000);
        Self { kills, outages: args.outage.clone(), next: Instant::now() + every, every, random, stopped: None }
    }

    async fn step(&mut self, services: &mut [Service], stack: &Stack) -> anyhow::Result<()> {
        if let Some((store, until)) = &self.stopped
            && Instant::now() >= *until
        {
            eprintln!("xtask: {store} goes on");
            store_of(stack, store).start().await?;
            self.stopped = None;
        }
        if Instant::now() < self.next {
            return Ok(());
        }
        // Between half and one and a half of the pace, so that kills fall anywhere in a batch.
        self.next = Instant::now() + self.every.mul_f64(0.5 + (next_random(&mut self.random) % 1_000) as f64 / 1_000.0);
        if self.stopped.is_none()
            && let Some((store, seconds)) = self.outages.pop()
        {
            eprintln!("xtask: {store} is killed for {seconds} s");
            store_of(stack, &store).kill()?;
            self.stopped = Some((store, Instant::now() + Duration::from_secs(seconds)));
        }
        if let Some(kind) = self.kills.pop()
            && let Some(service) = services.iter_mut().find(|service| service.kind() == kind)
        {
            eprintln!("xtask: kill -9 {} ({} left)", kind.name(), self.kills.len());
            service.kill()?;
            service.restart()?;
        }
        Ok(())
    }

    async fn finish(&mut self, services: &mut [Service], stack: &Stack) -> anyhow::Result<()> {
        if !self.kills.is_empty() || !self.outages.is_empty() {
            bail!("the replay ended before all faults were made; use a lower --rate");
        }
        if let Some((store, until)) = self.stopped.take() {
            tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
            store_of(stack, &store).start().await?;
        }
        services.iter_mut().try_for_each(|service| Ok(service.wait_ready()?))
    }
}

fn store_of<'s>(stack: &'s Stack, name: &str) -> &'s millrace_devstack::Store {
    if name == "mongodb" { stack.mongodb() } else { stack.clickhouse() }
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}
