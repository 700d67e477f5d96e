//! `millrace migrate`: makes the stores ready. Applied versions are recorded, so applying twice changes nothing.

use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::log::{Log, LogMeta, functions};
use millrace_common::names::Names;
use millrace_common::stores::{clickhouse, profiles};

/// Creates the log with its function library and consumer groups, ClickHouse's tables, and MongoDB's indexes.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// How many partitions a new log gets. The number never changes afterwards, and at most that many workers can share the
    /// work of one consumer group.
    #[arg(long, default_value_t = LogMeta::default().partitions, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub partitions: u16,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,
}

/// Migrates all three stores.
pub async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let names = Names::new(&args.stores.namespace);
    let meta = LogMeta { partitions: args.partitions, ..LogMeta::default() };
    let log = Log::create(&args.stores.redis_url, names, meta).await?;
    println!("redis: log `{}` with {} partitions", args.stores.namespace, log.meta().partitions);
    if args.stores.features_url() != args.stores.redis_url {
        functions::load_at(args.stores.features_url()).await?;
        println!("redis (features): function library {}", functions::LIBRARY);
    }
    report("clickhouse", &clickhouse::migrate(&args.stores.clickhouse_url, &args.stores.namespace).await?);
    report("mongodb", &profiles::migrate(&args.stores.mongodb_url, &args.stores.namespace).await?);
    Ok(())
}

fn report<S: AsRef<str>>(store: &str, applied: &[S]) {
    match applied {
        [] => println!("{store}: up to date"),
        _ => println!("{store}: applied {}", applied.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")),
    }
}
