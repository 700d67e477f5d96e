//! The project's own tasks: `cargo xtask <verb>`. CI calls the same verbs.

mod compile;
mod demo;
mod journey;
mod lint;
mod shell;
mod stages;
mod test;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use test::Effort;

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
    /// Everything that CI checks: format, lints, laws, store tests, and one whole-system test per guarantee.
    Test,
    /// The same for hours: more cases per law, more kills per test, and the demo with faults.
    Soak,
    /// Format and lints alone.
    Lint,
    /// Prints figures about the source: circles, catch-all arms, long files and functions, shared names, phrases.
    Shape {
        /// Print the counts alone.
        #[arg(long)]
        brief: bool,
    },
    /// Measures each part beside the simplest program that could do its work; see `bench/README.md`.
    Bench {
        /// Arguments of `millrace-bench`; `all` by default.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Starts the three stores in the background and prints their URLs.
    Up,
    /// Stops the stores that `up` started, or that an interrupted test run left behind.
    Down,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    std::env::set_current_dir(shell::root())?;
    match Arguments::parse().verb {
        Verb::Demo(args) => demo::run(&args).await,
        Verb::Test => test::run(Effort::Test).await,
        Verb::Soak => test::run(Effort::Soak).await,
        Verb::Lint => lint::run(),
        Verb::Shape { brief } => lint::shape(brief),
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
