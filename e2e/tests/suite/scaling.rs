//! A worker is added by starting another process: partitions move to it, and back, and every count stays exact.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_devstack::services::ServiceKind;
use millrace_e2e::{World, eventually, get, post_json};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// How many partitions each worker of a group owns.
fn owners(status: &Value, group: &str) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    for partition in status["partitions"].as_array().into_iter().flatten() {
        if let Some(owner) = partition["groups"][group]["owner"].as_str() {
            *owners.entry(owner.to_owned()).or_default() += 1;
        }
    }
    owners
}

async fn owned_by(world: &World, workers: usize) -> Value {
    eventually(&format!("{workers} workers share each group"), LIMIT, || async {
        let status = world.status().await;
        let shared = ["online", "offline"].iter().all(|group| {
            let owners = owners(&status, group);
            owners.len() == workers && owners.values().sum::<usize>() == 8
        });
        shared.then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_partitions_and_give_them_back() {
    let world = World::shared().await;
    let services = world.start_all().await;
    let url = format!("{}/v1/events", services[0].url());
    let send = async |from: i64| {
        let events: Vec<Value> = (from..from + 400)
            .map(|n| {
                json!({
                    "type": "purchase", "id": format!("e{n}"), "household_id": n % 100, "product_id": 1,
                    "properties": { "sales_value": "0.01" },
                })
            })
            .collect();
        assert_eq!(post_json(&url, &Value::Array(events)).await.1["accepted"], 400);
    };
    send(0).await;
    println!("before: {:?}", owners(&owned_by(&world, 1).await, "online"));
    let mut more = Vec::new();
    for label in ["second", "third"] {
        more.push(world.start(ServiceKind::OnlineConsumer, &format!("online-{label}")).await);
        more.push(world.start(ServiceKind::OfflineConsumer, &format!("offline-{label}")).await);
    }
    send(400).await;
    println!("during: {:?}", owners(&owned_by(&world, 3).await, "online"));
    send(800).await;
    world.drained(LIMIT).await;
    for worker in &more {
        let (_, metrics) = get(&format!("{}/metrics", worker.url())).await;
        assert!(metrics.is_null(), "metrics are text, not JSON");
        let text = reqwest::get(format!("{}/metrics", worker.url())).await.unwrap().text().await.unwrap();
        let worked =
            text.lines().any(|line| line.starts_with("millrace_entries_processed_total") && !line.ends_with(" 0"));
        assert!(worked, "each worker does work: {text}");
    }
    send(1_200).await;
    for worker in &mut more {
        worker.stop().unwrap();
    }
    println!("after: {:?}", owners(&owned_by(&world, 1).await, "online"));
    send(1_600).await;
    world.drained(LIMIT).await;
    for household in [0, 50, 99] {
        let (_, flat) = get(&format!("{}/api/v1/features/household/{household}", services[3].url())).await;
        assert_eq!(flat["lines_lifetime"], 20, "household {household}: {flat}");
    }
    assert_eq!(world.clickhouse("SELECT count() FROM events").await, 2_000);
    assert_eq!(world.clickhouse("SELECT uniqExact(event_id) FROM events").await, 2_000);
}
