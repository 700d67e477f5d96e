//! What is measured, and how large and how long.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use millrace_common::log::Group;

/// Measures Millrace beside bare peers: three alternating rounds, medians. Starts stores of its own.
#[derive(Clone, Debug, Parser)]
#[command(name = "millrace-bench")]
pub struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    pub what: What,

    /// One short round, to see that everything runs; its numbers mean nothing.
    #[arg(long, global = true)]
    pub quick: bool,

    /// Use the binaries as they are.
    #[arg(long, global = true)]
    pub no_build: bool,

    /// So many rounds; three by default.
    #[arg(long, global = true)]
    pub rounds: Option<usize>,

    /// Drain only this group.
    #[arg(long, global = true)]
    pub group: Option<GroupName>,

    /// Of `serve`, only the rows whose name has this text.
    #[arg(long, global = true)]
    pub only: Option<String>,
}

/// What the program does.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// A measurement.
    #[command(flatten)]
    Measure(Measure),
    /// A peer; the program starts itself so, to have it in a process of its own.
    #[command(subcommand, hide = true)]
    Bare(Bare),
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Measure {
    /// Everything below.
    All,
    /// Events/s into the log, singly and in batches of 500.
    Ingest,
    /// How fast each consumer works off a full log.
    Drain,
    /// Reads/s of the feature server, and how long they take.
    Serve,
    /// From the POST of an event to the read that has it.
    Servable,
    /// Bytes per entity, entry and row.
    Memory,
    /// Keys/s of a batch view's run.
    Materialize,
}

/// A peer.
#[derive(Clone, Debug, Subcommand)]
pub enum Bare {
    /// HTTP to XADD.
    Forwarder(BareArgs),
    /// HTTP to HMGET.
    Reader(BareArgs),
}

/// Where a peer listens and what it reads.
#[derive(Clone, Debug, Args)]
pub struct BareArgs {
    /// Where to listen; it prints the address.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Redis.
    #[arg(long)]
    pub redis_url: String,
    /// What keys begin with.
    #[arg(long)]
    pub namespace: String,
    /// The reader: `view@version` of each wanted slot.
    #[arg(long, value_delimiter = ',')]
    pub views: Vec<String>,
}

/// A group on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupName {
    /// Redis and MongoDB.
    Online,
    /// ClickHouse.
    Offline,
}

/// Sizes and times of one run.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Whether the numbers are worth nothing.
    pub quick: bool,
    /// How often each pair is measured.
    pub rounds: usize,
    /// Before each measured time, so that connections, caches and allocators are warm.
    pub warm: Duration,
    /// The measured time of a load.
    pub measured: Duration,
    /// Different events that are sent over and over.
    pub bodies: usize,
    /// Entries of the log that is drained, and of the state that is served.
    pub entries: usize,
    /// Keys that a batch view's run writes.
    pub keys: u64,
    /// The groups that are drained.
    pub groups: Vec<Group>,
    /// The text that rows of `serve` must have in their names.
    pub only: String,
}

impl Scale {
    /// As asked on the command line.
    pub fn of(arguments: &Arguments) -> Self {
        let quick = arguments.quick;
        let groups = match arguments.group {
            None => Group::ALL.to_vec(),
            Some(GroupName::Online) => vec![Group::Online],
            Some(GroupName::Offline) => vec![Group::Offline],
        };
        let seconds = |full: f64, short: f64| Duration::from_secs_f64(if quick { short } else { full });
        Self {
            quick,
            rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 3 }).max(1),
            warm: seconds(2.0, 0.3),
            measured: seconds(10.0, 1.0),
            bodies: if quick { 10_000 } else { 50_000 },
            entries: if quick { 50_000 } else { 1_000_000 },
            keys: if quick { 50_000 } else { 1_000_000 },
            groups,
            only: arguments.only.clone().unwrap_or_default(),
        }
    }

    /// Long enough that every cached value is renewed while it is measured.
    pub fn past_the_cache(&self) -> Self {
        let seconds = |full: u64, as_is: Duration| if self.quick { as_is } else { Duration::from_secs(full) };
        Self { warm: seconds(10, self.warm), measured: seconds(70, self.measured), ..self.clone() }
    }
}
