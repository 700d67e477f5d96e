//! `cargo xtask test` and `cargo xtask soak`: the same stages, in the order in which a failure is cheapest, with a table
//! of minutes at the end. `test` shows each promise once; `soak` tries for longer.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use anyhow::bail;
use millrace_devstack::shared_for_tests;

use crate::compile::{self, TestBinaries, linting_cargo};
use crate::lint;
use crate::shell::{self, cargo, exec};
use crate::stages::Stages;

/// How hard the tests try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As CI runs them.
    Test,
    /// More cases per law, more kills per test, and the demo with faults.
    Soak,
}

/// Cases per law in a soak; proptest's own default is 256.
const SOAK_CASES: &str = "4096";
/// The demo of a soak: kills of each service, and outages, must change no value.
const SOAK_DEMO: [&str; 10] =
    ["xtask", "demo", "--rate", "2000", "--kill", "5", "--outage", "mongodb=30", "--outage", "clickhouse=30"];

/// Runs all stages, and prints the table also when one fails.
pub async fn run(effort: Effort) -> anyhow::Result<()> {
    let mut stages = Stages::default();
    let tested = all(effort, &mut stages).await;
    stages.end();
    println!("\n{stages}");
    let mongodb = tested?;
    println!("all tests passed; the MongoDB server was {mongodb}");
    Ok(())
}

/// Answers which server stood for MongoDB.
async fn all(effort: Effort, stages: &mut Stages) -> anyhow::Result<String> {
    stages.begin("format");
    lint::format()?;
    stages.begin("lint");
    lint::rules()?;
    stages.begin("build and clippy");
    let binaries = compile::everything()?;
    stages.begin("start of the stores");
    let dir = millrace_devstack::test_dir();
    millrace_devstack::down(&dir).await?;
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let stack = shared_for_tests(&dir).await?;
    let mongodb = stack.mongodb().server().to_owned();
    eprintln!("xtask: testing on {}, {mongodb} and {}", stack.redis().server(), stack.clickhouse().server());
    let tested = tests(effort, &dir, &binaries, stages);
    drop(stack);
    millrace_devstack::down(&dir).await?;
    tested?;
    if effort == Effort::Soak {
        stages.begin("demo with faults");
        exec(&mut cargo(&SOAK_DEMO))?;
    }
    Ok(mongodb)
}

/// Runs every test binary. Each package is a stage.
fn tests(effort: Effort, stores: &Path, binaries: &TestBinaries, stages: &mut Stages) -> anyhow::Result<()> {
    let mut command = linting_cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.env("MILLRACE_TEST_STORES", stores).stderr(Stdio::piped());
    if effort == Effort::Soak {
        command.env("MILLRACE_SOAK", "1").env("PROPTEST_CASES", SOAK_CASES);
    }
    stages.begin("tests");
    let status = shell::timed(&mut command, |command| follow(command.spawn()?, binaries, stages))?;
    if status.success() { Ok(()) } else { bail!("tests failed: {status}") }
}

/// Passes on what cargo says, and begins a stage with each package that it names.
fn follow(mut cargo: Child, binaries: &TestBinaries, stages: &mut Stages) -> std::io::Result<ExitStatus> {
    for line in cargo.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line?;
        eprintln!("{line}");
        if let Some(stage) = stage(&line, binaries) {
            stages.begin(stage);
        }
    }
    cargo.wait()
}

/// The stage that one of cargo's lines begins: `Running tests/suite/main.rs (target/debug/deps/suite-0a1b)`, or
/// `Doc-tests millrace_core`.
fn stage(line: &str, binaries: &TestBinaries) -> Option<String> {
    let line = line.trim_start();
    if line.starts_with("Doc-tests ") {
        return Some("doc tests".to_owned());
    }
    let binary = line.strip_prefix("Running ")?.rsplit_once('(')?.1.trim_end_matches(')');
    let package = binaries.get(Path::new(binary).file_name().unwrap_or(OsStr::new(binary)))?;
    Some(format!("tests of {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_package() {
        let binaries = TestBinaries::from([("suite-0a1b".into(), "core".to_owned())]);
        let stage = |line| stage(line, &binaries);
        assert_eq!(
            stage("     Running tests/suite/main.rs (target/debug/deps/suite-0a1b)").as_deref(),
            Some("tests of core")
        );
        assert_eq!(stage("   Doc-tests millrace_core").as_deref(), Some("doc tests"));
        assert_eq!(stage("    Finished `test` profile [optimized] target(s) in 1s"), None);
    }
}
