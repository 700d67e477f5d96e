//! `cargo xtask demo`: replays a public set of grocery transactions through the services on real stores. Scripts of the
//! example compute the values again with another engine and compare them (`check`). Options can kill services and stores
//! during the replay (`faults`); the result must be the same. `installation` starts the services.

mod check;
mod faults;
mod installation;

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use millrace_devstack::{Stack, StackOptions};
use serde_json::Value;

use crate::journey;
use crate::shell::{cargo, exec};
use check::Check;
use faults::{Faults, Outage};
use installation::Installation;

#[derive(Args)]
pub struct DemoArgs {
    /// Replay all 1.4 million transactions.
    #[arg(long)]
    all: bool,

    /// Replay this number of the last transactions.
    #[arg(long, default_value_t = 200_000, conflicts_with = "all")]
    last: usize,

    /// Send this number of events a second; as fast as possible without it.
    #[arg(long)]
    rate: Option<f64>,

    /// Kill -9 each service this number of times, at random points of the replay.
    #[arg(long, default_value_t = 0)]
    kill: u32,

    /// Kill a store during the replay and start it again after this number of seconds: `mongodb=60` or `clickhouse=60`. Can
    /// be given more than once.
    #[arg(long)]
    outage: Vec<Outage>,

    /// The seed that decides which keys are checked and when faults happen.
    #[arg(long, default_value_t = 4)]
    seed: u64,

    /// Keep the logs and the stores' data. Without it, they are kept if the demo cannot finish.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo and prints its summary. A mismatch, a lost event or a duplicate is an error.
pub async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("millrace-demo-").tempdir()?;
    let summary = replay_and_check(args, dir.path()).await;
    if args.keep || summary.is_err() {
        eprintln!("xtask: logs are kept in {}", dir.keep().display());
    }
    let summary = summary?;
    println!("{summary}");
    if is_exact(&summary) { Ok(()) } else { bail!("the demo found mismatches, losses or duplicates") }
}

/// Whether every event that was sent was accepted and is in ClickHouse once, every value of the streamed views and of the
/// batch view is right, and each check script has passed.
fn is_exact(summary: &Value) -> bool {
    let number = |name: &str| summary[name].as_i64().unwrap_or(-1);
    number("mismatches") == 0
        && summary["batch"]["mismatches"] == 0
        && number("events_sent") == number("accepted")
        && number("accepted") == number("clickhouse_rows")
        && number("clickhouse_rows") == number("clickhouse_distinct")
        && summary["check_passed"] == true
}

/// Sets everything up, replays, checks, and stops everything. Returns the summary of `check`.
async fn replay_and_check(args: &DemoArgs, dir: &Path) -> anyhow::Result<Value> {
    exec(&mut cargo(&["build", "--release"]))?;
    let python = journey::python()?;
    let data = journey::data(&python)?;
    let stack = Stack::up(StackOptions::from_env(dir.join("stores"))).await?;
    eprintln!("xtask: on {}, {} and {}", stack.redis().server(), stack.mongodb().server(), stack.clickhouse().server());
    let installation = Installation::new(&stack, dir);
    installation.millrace(&["migrate"])?;
    installation.millrace(&["apply", &journey::folder().join("millrace.yaml").to_string_lossy()])?;
    // In the order of `ServiceKind::ALL`: ingest is the first, and the feature server the last.
    let mut services = installation.start_all()?;
    let report = dir.join("replay.json");

    let started = Instant::now();
    let mut replay = installation.replay(args, &data, &report, &services[0].url())?;
    Faults::new(args).during(&mut replay, &mut services, &stack).await?;
    let sent_s = started.elapsed().as_secs_f64();
    installation.wait_drained()?;
    eprintln!("xtask: replayed in {sent_s:.1} s, drained after {:.1} s", started.elapsed().as_secs_f64());

    let check = Check { installation: &installation, python: &python, data: &data, report: &report };
    let summary = check.summary(&stack, &services[3], args.seed).await?;
    for mut service in services {
        service.stop()?;
    }
    stack.down().await?;
    Ok(summary)
}
