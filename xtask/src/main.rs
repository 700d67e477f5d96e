//! The one door to the project's own tasks: `cargo xtask <verb>`. CI calls the same verbs.

mod demo;
mod deps;
mod journey;
mod shell;
mod test;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Millrace's own tasks")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sets everything up, replays real grocery data through the real services, and checks every value.
    Demo(demo::DemoArgs),
    /// Format, lint, laws, store tests, whole-system tests: everything that CI checks.
    Test,
    /// Format and lint alone.
    Lint,
    /// Measures everything beside the least that could stand in its place; see `bench/README.md`.
    Bench {
        /// Passed on; `all` by default.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Starts the three stores in the background and prints their URLs.
    Up,
    /// Stops the stores that `up`, or a test run that was cut short, has left.
    Down,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    std::env::set_current_dir(shell::root())?;
    match Arguments::parse().verb {
        Verb::Demo(args) => demo::run(&args).await,
        Verb::Test => test::run().await,
        Verb::Lint => test::lint(),
        Verb::Bench { arguments } => {
            let all = if arguments.is_empty() { vec!["all".to_owned()] } else { arguments };
            let run = ["run", "--release", "--package", "millrace-bench", "--"];
            shell::exec(shell::cargo(&run).args(all))
        }
        Verb::Up => {
            let stack = millrace_devstack::attach_or_up(stores()).await?;
            for (name, value) in stack.env() {
                println!("export {name}={value}");
            }
            Ok(())
        }
        Verb::Down => {
            millrace_devstack::down(millrace_devstack::test_dir()).await?;
            Ok(millrace_devstack::down(stores()).await?)
        }
    }
}

fn stores() -> PathBuf {
    shell::root().join(".millrace/up")
}
