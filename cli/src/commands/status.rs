//! `millrace status`: partitions, owners, positions, lag, and whether each store answers.

use std::time::Duration;

use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::log::status::{PartitionStatus, status};
use millrace_common::log::{DEAD_LETTERS, Group, Log};
use millrace_common::names::Names;
use millrace_common::stores::clickhouse::ClickHouse;
use millrace_common::stores::profiles::ProfileStore;
use serde_json::{Value, json};

/// How long a store may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Shows who works on what, and how far each sink is.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,
}

/// Asks the log and the stores.
pub async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let log = Log::open(&args.stores.redis_url, Names::new(&args.stores.namespace)).await?;
    let partitions = status(&log).await?;
    let stores = store_health(&args.stores).await;
    if args.json {
        let rows: Vec<Value> = partitions.iter().map(partition_json).collect();
        println!("{}", json!({ "partitions": rows, "stores": stores, "drained": drained(&partitions) }));
        return Ok(());
    }
    println!(
        "{:>4}  {:>9}  {:>6}  {:>4}  {:<8}  {:>9}  {:<34}  sinks",
        "part", "entries", "dead", "defs", "group", "lag", "owner"
    );
    for partition in &partitions {
        for group in &partition.groups {
            let sinks: Vec<String> =
                group.sinks.iter().map(|(name, cursor)| format!("{name} {}", cursor.position)).collect();
            println!(
                "{:>4}  {:>9}  {:>6}  {:>4}  {:<8}  {:>9}  {:<34}  {}",
                partition.partition,
                partition.length,
                partition.dead,
                partition.version,
                group.group.name(),
                group.lag.map_or("?".into(), |lag| lag.to_string()),
                group.owner.as_deref().unwrap_or("-"),
                sinks.join(", "),
            );
        }
    }
    for (store, health) in stores.as_object().into_iter().flatten() {
        println!("{store}: {}", health.as_str().unwrap_or_default());
    }
    Ok(())
}

/// Whether every sink has done everything that the log holds.
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
    let groups: serde_json::Map<String, Value> = partition
        .groups
        .iter()
        .map(|group| {
            let sinks: serde_json::Map<String, Value> = group
                .sinks
                .iter()
                .filter(|(name, _)| *name != DEAD_LETTERS || group.group == Group::Offline)
                .map(|(name, cursor)| {
                    (name.clone(), json!({ "position": cursor.position.to_string(), "entries": cursor.entries_read }))
                })
                .collect();
            let row = json!({ "owner": group.owner, "epoch": group.epoch, "lag": group.lag, "sinks": sinks });
            (group.group.name().to_owned(), row)
        })
        .collect();
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

async fn store_health(stores: &StoreConfig) -> Value {
    let said = |result: Result<(), String>| match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => error,
    };
    let mongodb = async {
        let profiles = ProfileStore::connect(&stores.mongodb_url, &stores.namespace, 1, TIMEOUT)
            .await
            .map_err(|e| e.to_string())?;
        profiles.ping().await.map_err(|e| e.to_string())
    };
    let clickhouse = async {
        let clickhouse = ClickHouse::connect(&stores.clickhouse_url, &stores.namespace).map_err(|e| e.to_string())?;
        clickhouse.ping().await.map_err(|e| e.to_string())
    };
    let (mongodb, clickhouse) = tokio::join!(mongodb, clickhouse);
    json!({ "redis": "ok", "mongodb": said(mongodb), "clickhouse": said(clickhouse) })
}
