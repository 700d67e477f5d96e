//! The command line of `millrace`: which subcommands there are, and which stores they use by default.
//!
//! Without a URL of a store on the command line or in the environment, a command uses the stores of the `millrace dev`
//! that runs in this folder, if one does.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use millrace_common::config::StoreConfig;

use crate::commands::{apply, dev, get, jobs, materialize, migrate, run_jobs, status};
use crate::replay;
use crate::running_dev::{DEFAULT_DIR, DIR_VARIABLE, RunningDev};

/// The settings that say where a store is. If one of them is given, none is taken from a running `millrace dev`: a
/// command never mixes the stores of two installations.
const STORE_URLS: [&str; 4] = ["redis_url", "redis_features_url", "mongodb_url", "clickhouse_url"];

const DEV_HELP: &str = "Commands that read or write stores use those of the `millrace dev` that runs in this folder, if \
one does and no store's URL is given on the command line or in the environment.";

/// Millrace: events in, fresh feature vectors out.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = DEV_HELP)]
pub struct Arguments {
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

impl Arguments {
    /// Reads the command line. Prints a line on standard error if a running `millrace dev` fills in for settings.
    pub fn read() -> Self {
        let dir = std::env::var_os(DIR_VARIABLE).filter(|dir| !dir.is_empty());
        let dir = dir.map_or_else(|| PathBuf::from(DEFAULT_DIR), PathBuf::from);
        let Some(dev) = RunningDev::find(&dir) else { return Self::parse() };
        let matches = with_defaults_of(Self::command(), &dev).get_matches();
        if names_a_store(&matches) {
            return Self::parse();
        }
        if takes_a_default(&matches) {
            eprintln!("millrace: using the `millrace dev` in {}: {dev}", dir.display());
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Runs the subcommand.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Dev { args, stores } => dev::run(args, stores).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Materialize(args) => materialize::run(args).await,
            Command::RunJobs(args) => run_jobs::run(args).await,
            Command::Jobs(args) => jobs::run(args).await,
        }
    }
}

/// The value that a running `millrace dev` has for an argument of a subcommand. None for the services, which are
/// configured in full.
fn default_of<'d>(dev: &'d RunningDev, subcommand: &str, argument: &str) -> Option<&'d str> {
    match (subcommand, argument) {
        (name, _) if is_service(name) => None,
        ("get", "url") => Some(&dev.server_url),
        ("replay", "url") => Some(&dev.ingest_url),
        (_, "redis_url") => Some(&dev.redis_url),
        (_, "redis_features_url") => dev.redis_features_url.as_deref(),
        (_, "mongodb_url") => Some(&dev.mongodb_url),
        (_, "clickhouse_url") => Some(&dev.clickhouse_url),
        (_, "namespace") => Some(&dev.namespace),
        (_, _) => None,
    }
}

fn is_service(subcommand: &str) -> bool {
    matches!(subcommand, "dev" | "run-jobs")
}

fn with_defaults_of(mut command: clap::Command, dev: &RunningDev) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |subcommand| {
            let help = format!("Used without a store's URL: the `millrace dev` that runs now ({dev})");
            let subcommand = if is_service(&name) { subcommand } else { subcommand.after_help(help) };
            subcommand.mut_args(|argument| match default_of(dev, &name, argument.get_id().as_str()) {
                // A URL that was given to `millrace dev` may hold a password.
                Some(value) => argument.hide_default_value(value.contains('@')).default_value(value.to_owned()),
                None => argument,
            })
        });
    }
    command
}

fn names_a_store(matches: &ArgMatches) -> bool {
    let Some((_, arguments)) = matches.subcommand() else { return false };
    sources(arguments).any(|(id, source)| STORE_URLS.contains(&id) && source != ValueSource::DefaultValue)
}

fn takes_a_default(matches: &ArgMatches) -> bool {
    let Some((name, arguments)) = matches.subcommand() else { return false };
    let filled = |id: &str| STORE_URLS.contains(&id) || (id == "url" && matches!(name, "get" | "replay"));
    !is_service(name) && sources(arguments).any(|(id, source)| filled(id) && source == ValueSource::DefaultValue)
}

fn sources(arguments: &ArgMatches) -> impl Iterator<Item = (&str, ValueSource)> {
    arguments.ids().filter_map(|id| Some((id.as_str(), arguments.value_source(id.as_str())?)))
}
