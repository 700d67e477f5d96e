//! The command line: what is measured, how large and how long.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use millrace_common::log::Group;

/// Measures Millrace beside bare peers: three alternating rounds, medians. Starts stores of its own.
#[derive(Clone, Debug, Parser)]
#[command(name = "millrace-bench")]
pub struct Arguments {
    /// The measurement.
    #[command(subcommand)]
    pub what: What,

    /// One short round, to see that everything runs; its numbers mean nothing.
    #[arg(long, global = true)]
    pub quick: bool,

    /// Do not build the binaries first.
    #[arg(long, global = true)]
    pub no_build: bool,

    /// The number of rounds; three by default.
    #[arg(long, global = true)]
    pub rounds: Option<usize>,

    /// Drain only this group.
    #[arg(long, global = true)]
    pub group: Option<GroupName>,

    /// Measure only the rows of `serve` whose name contains this text.
    #[arg(long, global = true)]
    pub only: Option<String>,
}

/// The command.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// A measurement.
    #[command(flatten)]
    Measure(Measure),
    /// A peer. The bench starts itself as one, so that the peer has its own process.
    #[command(subcommand, hide = true)]
    Bare(Bare),
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Measure {
    /// Everything below, except `append` and `json`.
    All,
    /// Events/s into the log, singly and in batches of 500.
    Ingest,
    /// Appends/s of the hand-written connection to the log, beside the Redis driver. Not part of `all`.
    Append,
    /// REST documents/s of the hand-written writer, beside serde_json. Not part of `all`.
    Json,
    /// How fast each consumer drains a full log.
    Drain,
    /// Reads/s of the feature server, and how long they take.
    Serve,
    /// The time from an event's POST to the first read that includes it.
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

/// The address and the data of a peer.
#[derive(Clone, Debug, Args)]
pub struct BareArgs {
    /// The address to listen on. The peer prints it.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Redis.
    #[arg(long)]
    pub redis_url: String,
    /// The prefix of the keys.
    #[arg(long)]
    pub namespace: String,
    /// For the reader: `view@version` of each wanted slot.
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
    /// Whether this is a quick run, whose numbers mean nothing.
    pub quick: bool,
    /// How often each pair is measured.
    pub rounds: usize,
    /// The time before each measurement in which connections, caches and allocators get warm.
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
    /// The text that the names of measured rows contain.
    pub only: String,
}

impl Scale {
    /// The scale that the command line asks for.
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

    /// The same, but long enough that every cached value is renewed during the measurement.
    pub fn past_the_cache(&self) -> Self {
        let seconds = |full: u64, as_is: Duration| if self.quick { as_is } else { Duration::from_secs(full) };
        Self { warm: seconds(10, self.warm), measured: seconds(70, self.measured), ..self.clone() }
    }
}
