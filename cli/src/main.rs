//! The `millrace` command.

use clap::{Parser, Subcommand};
use millrace::commands::{apply, dev, get, jobs, materialize, migrate, run_jobs, status};
use millrace::replay;
use millrace_common::config::StoreConfig;

/// Millrace: events in, fresh feature vectors out.
#[derive(Debug, Parser)]
#[command(name = "millrace", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: stores, migrations, definitions, the services.
    Dev {
        #[command(flatten)]
        args: dev::DevArgs,
        #[command(flatten)]
        stores: StoreConfig,
    },
    /// Make the stores ready.
    Migrate(migrate::MigrateArgs),
    /// Put definitions in force.
    Apply(apply::ApplyArgs),
    /// Send files as events.
    Replay(replay::ReplayArgs),
    /// Show one entity: every feature, its status, time and source.
    Get(get::GetArgs),
    /// Show partitions, owners, positions, lag and the stores' health.
    Status(status::StatusArgs),
    /// Compute a batch view and write it into its online store.
    Materialize(materialize::MaterializeArgs),
    /// Compute batch views when they are due, as a service.
    RunJobs(run_jobs::RunJobsArgs),
    /// Show batch views, their runs and what failed.
    Jobs(jobs::JobsArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Dev { args, stores } => dev::run(args, stores).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Apply(args) => apply::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Materialize(args) => materialize::run_command(args).await,
        Command::RunJobs(args) => run_jobs::run(args).await,
        Command::Jobs(args) => jobs::run(args).await,
    }
}
