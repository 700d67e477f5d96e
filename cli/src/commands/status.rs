//! `millrace status`: partitions, owners, positions, lag, and whether each store answers.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::log::status::{GroupStatus, PartitionStatus, status};
use millrace_common::log::{DEAD_LETTERS, Group};
use millrace_common::stores::clickhouse::ClickHouse;
use millrace_common::stores::profiles::ProfileStore;
use serde_json::{Map, Value, json};

use super::definitions::open_log;
use super::output::print;

/// How long a store may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Shows the owner of each partition, and how far each sink is.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,
}

/// Asks the log and the stores.
pub async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let log = open_log(&args.stores).await?;
    let partitions = status(&log).await?;
    let stores = store_health(&args.stores).await;
    if args.json {
        let rows: Vec<Value> = partitions.iter().map(partition_json).collect();
        let stores: Map<String, Value> =
            stores.into_iter().map(|(store, health)| (store.to_owned(), health.into())).collect();
        return print(&format!(
            "{}\n",
            json!({ "partitions": rows, "stores": stores, "drained": drained(&partitions) })
        ));
    }
    print(&table(&partitions, &stores)?)
}

fn table(partitions: &[PartitionStatus], stores: &[(&str, String)]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "{:>4}  {:>9}  {:>6}  {:>4}  {:<8}  {:>9}  {:<34}  sinks",
        "part", "entries", "dead", "defs", "group", "lag", "owner"
    )?;
    for partition in partitions {
        for group in &partition.groups {
            write_group(&mut text, partition, group)?;
        }
    }
    for (store, health) in stores {
        writeln!(text, "{store}: {health}")?;
    }
    Ok(text)
}

fn write_group(text: &mut String, partition: &PartitionStatus, group: &GroupStatus) -> std::fmt::Result {
    let sinks: Vec<String> = group.sinks.iter().map(|(name, cursor)| format!("{name} {}", cursor.position)).collect();
    writeln!(
        text,
        "{:>4}  {:>9}  {:>6}  {:>4}  {:<8}  {:>9}  {:<34}  {}",
        partition.partition,
        partition.length,
        partition.dead,
        partition.version,
        group.group.name(),
        group.lag.map_or("?".into(), |lag| lag.to_string()),
        group.owner.as_deref().unwrap_or("-"),
        sinks.join(", "),
    )
}

/// Whether every sink has absorbed every entry of the log.
fn drained(partitions: &[PartitionStatus]) -> bool {
    partitions.iter().all(|partition| {
        partition.groups.iter().all(|group| {
            group.group.event_sinks().all(|sink| {
                group.sinks.get(sink).is_some_and(|cursor| cursor.position >= partition.last) || partition.appended == 0
            })
        })
    })
}

fn partition_json(partition: &PartitionStatus) -> Value {
    let groups: Map<String, Value> =
        partition.groups.iter().map(|group| (group.group.name().to_owned(), group_json(group))).collect();
    json!({
        "partition": partition.partition.0,
        "entries": partition.length,
        "appended": partition.appended,
        "last": partition.last.to_string(),
        "dead": partition.dead,
        "version": partition.version,
        "groups": groups,
    })
}

fn group_json(group: &GroupStatus) -> Value {
    let sinks: Map<String, Value> = group
        .sinks
        .iter()
        .filter(|(name, _)| *name != DEAD_LETTERS || group.group == Group::Offline)
        .map(|(name, cursor)| {
            (name.clone(), json!({ "position": cursor.position.to_string(), "entries": cursor.entries_read }))
        })
        .collect();
    json!({ "owner": group.owner, "epoch": group.epoch, "lag": group.lag, "sinks": sinks })
}

/// Each store with `ok` or its error. Redis is `ok`: it has just answered.
async fn store_health(stores: &StoreConfig) -> Vec<(&'static str, String)> {
    let health = |result: anyhow::Result<()>| result.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    let (mongodb, clickhouse) = tokio::join!(ask_mongodb(stores), ask_clickhouse(stores));
    vec![("clickhouse", health(clickhouse)), ("mongodb", health(mongodb)), ("redis", health(Ok(())))]
}

async fn ask_mongodb(stores: &StoreConfig) -> anyhow::Result<()> {
    let profiles = ProfileStore::connect(&stores.mongodb_url, &stores.namespace, 1, TIMEOUT).await?;
    Ok(profiles.ping().await?)
}

async fn ask_clickhouse(stores: &StoreConfig) -> anyhow::Result<()> {
    Ok(ClickHouse::connect(&stores.clickhouse_url, &stores.namespace)?.ping().await?)
}
