//! Side-by-side comparisons: each part of the line beside the least that could do its work, on the same stores, in
//! the same run, round by round. Says what was measured; judges nothing, and no test depends on it.

mod bare;
mod config;
mod cpu;
mod grpc;
mod http1;
mod journey;
mod line;
mod load;
mod measure;
mod report;
mod xread;

use std::process::Command;

use anyhow::{Context, bail};

pub use config::Arguments;
use config::{Measure, Scale, What};
use line::Line;
use report::Report;

/// Measures what is asked for and prints the tables.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let what = match arguments.what {
        What::Bare(peer) => return bare::serve(peer).await,
        What::Measure(what) => what,
    };
    let scale = Scale::of(&arguments);
    if !arguments.no_build {
        build()?;
    }
    let line = Line::up().await?;
    let mut report = Report::about(&line, &scale);
    let measured = measure_all(&line, &scale, what, &mut report).await;
    // What was measured before something failed is still worth reading.
    println!("{report}");
    line.down().await?;
    measured
}

async fn measure_all(line: &Line, scale: &Scale, what: Measure, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |one: Measure| what == Measure::All || what == one;
    if wanted(Measure::Ingest) {
        measure::ingest::run(line, scale, report).await?;
    }
    if wanted(Measure::Drain) {
        measure::drain::run(line, scale, report).await?;
    }
    if wanted(Measure::Materialize) {
        measure::materialize::run(line, scale, report).await?;
    }
    if wanted(Measure::Memory) || wanted(Measure::Serve) || wanted(Measure::Servable) {
        let filled = measure::memory::fill(line, scale, report).await?;
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
