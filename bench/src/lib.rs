//! Side-by-side comparisons: each part of Millrace beside the simplest program that does the same work, on the same stores,
//! in the same run, round by round. The report only measures: no test depends on a number.

mod bare;
mod config;
mod connection;
mod cpu;
mod grpc;
mod http1;
mod installation;
mod journey;
mod latencies;
mod load;
mod measure;
mod report;
mod sink_progress;
mod stores;
mod xread;

use std::process::Command;

use anyhow::{Context, bail};

pub use config::Arguments;
use config::{Measure, Scale, What};
use report::Report;
use stores::BenchStores;

/// Runs the measurements that were asked for and prints the tables.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let what = match arguments.what {
        What::Bare(peer) => return bare::serve(peer).await,
        What::Measure(what) => what,
    };
    let scale = Scale::of(&arguments);
    if !arguments.no_build {
        build()?;
    }
    let stores = BenchStores::up().await?;
    let mut report = Report::about(&stores, &scale);
    let measured = measure_all(&stores, &scale, what, &mut report).await;
    // Also after a failure: the measurements before it are valid.
    println!("{report}");
    stores.down().await?;
    measured
}

async fn measure_all(stores: &BenchStores, scale: &Scale, what: Measure, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |one: Measure| what == Measure::All || what == one;
    if what == Measure::Append {
        measure::append::run(stores, scale, report).await?;
    }
    if what == Measure::Json {
        measure::json::run(scale, report)?;
    }
    if wanted(Measure::Ingest) {
        measure::ingest::run(stores, scale, report).await?;
    }
    if wanted(Measure::Drain) {
        measure::drain::run(stores, scale, report).await?;
    }
    if wanted(Measure::Materialize) {
        measure::materialize::run(stores, scale, report).await?;
    }
    if wanted(Measure::Memory) || wanted(Measure::Serve) || wanted(Measure::Servable) {
        let filled = measure::memory::fill(stores, scale, report).await?;
        if wanted(Measure::Serve) {
            measure::serve::run(&filled, scale, report).await?;
        }
        if wanted(Measure::Servable) {
            measure::servable::run(&filled, scale, report).await?;
        }
    }
    Ok(())
}

/// Builds the binaries that are measured, in the profile of this program.
fn build() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("bench: this is a debug build; its numbers mean nothing");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().context("failed to run cargo")?;
    if status.success() { Ok(()) } else { bail!("the binaries do not build: {status}") }
}
