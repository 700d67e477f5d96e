//! `cargo xtask test`: what CI runs, in the order in which a failure is cheapest.

use millrace_devstack::shared_for_tests;

use crate::deps;
use crate::shell::{cargo, exec};

/// Everything.
pub async fn run() -> anyhow::Result<()> {
    lint()?;
    let dir = millrace_devstack::test_dir();
    millrace_devstack::down(&dir).await?;
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    run_cargo(&["build", "--workspace", "--all-targets"])?;
    let stack = shared_for_tests(&dir).await?;
    eprintln!(
        "xtask: testing on {}, {} and {}",
        stack.redis().server(),
        stack.mongodb().server(),
        stack.clickhouse().server()
    );
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    let tested = exec(tests.env("MILLRACE_TEST_STORES", &dir));
    let mongodb = stack.mongodb().server().to_owned();
    drop(stack);
    millrace_devstack::down(&dir).await?;
    tested?;
    println!("all tests passed; the MongoDB server was {mongodb}");
    Ok(())
}

/// Format, direction of dependencies, clippy.
pub fn lint() -> anyhow::Result<()> {
    run_cargo(&["fmt", "--all", "--check"])?;
    deps::check()?;
    run_cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn run_cargo(arguments: &[&str]) -> anyhow::Result<()> {
    exec(&mut cargo(arguments))
}
