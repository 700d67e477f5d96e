//! Kill -9, pauses and outages at random points of a stream of events: nothing is lost, nothing counts twice, and an
//! unavailable store holds up only itself.

use std::time::Duration;

use millrace_devstack::StoreKind;
use millrace_devstack::services::{Service, ServiceKind};
use millrace_e2e::purchases::{LIMIT, exact, send};
use millrace_e2e::{World, effort, eventually, get, post_json};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn killed_services_lose_and_repeat_nothing() {
    let world = World::shared().await;
    let mut services: Vec<Service> = world.start_all().await;
    let url = format!("{}/v1/events", services[0].url());
    let rounds = effort(8, 60);
    let mut random = fastrand::Rng::with_seed(0x5eed);
    for round in 0..rounds {
        let sending = tokio::spawn({
            let url = url.clone();
            async move {
                for part in 0..5 {
                    send(&url, round * 500 + part * 100, 100).await;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(random.u64(..100))).await;
        // Each service in turn, at a random point of the stream.
        let victim = &mut services[round as usize % ServiceKind::ALL.len()];
        victim.kill().unwrap();
        tokio::time::sleep(Duration::from_millis(random.u64(..200))).await;
        victim.restart().unwrap();
        sending.await.unwrap();
    }
    for service in &mut services {
        service.wait_ready().unwrap();
    }
    exact(&world, &services[3].url(), rounds * 500).await;
}

/// A worker that sleeps through its lease wakes up as an ex-owner: it can write nothing that is not true.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_worker_wakes_up_harmless() {
    let world = World::shared().await;
    let services = world.start_all().await;
    let mut others = [
        world.start(ServiceKind::OnlineConsumer, "online-second").await,
        world.start(ServiceKind::OfflineConsumer, "offline-second").await,
    ];
    let url = format!("{}/v1/events", services[0].url());
    send(&url, 0, 500).await;
    for worker in &mut others {
        worker.pause(true).unwrap();
    }
    send(&url, 500, 500).await;
    // The first worker takes the sleepers' share once their leases have run out.
    world.drained(LIMIT).await;
    for worker in &mut others {
        worker.pause(false).unwrap();
    }
    send(&url, 1_000, 500).await;
    exact(&world, &services[3].url(), 1_500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_store_holds_up_only_itself() {
    let world = World::with_own(&[StoreKind::MongoDb, StoreKind::ClickHouse]).await;
    let services = world.start_all().await;
    let (url, server) = (format!("{}/v1/events", services[0].url()), services[3].url());
    send(&url, 0, 500).await;
    world.drained(LIMIT).await;
    for (name, store) in [("mongodb", world.stack.mongodb().clone()), ("clickhouse", world.stack.clickhouse().clone())]
    {
        let before = get(&format!("{server}/api/v1/features/household/1")).await.1["lines_lifetime"].as_i64().unwrap();
        store.kill().unwrap();
        let from = if name == "mongodb" { 500 } else { 1_000 };
        send(&url, from, 500).await;
        eventually(&format!("redis features stay fresh without {name}"), LIMIT, || async {
            let (status, flat) = get(&format!("{server}/api/v1/features/household/1")).await;
            (status == 200 && flat["lines_lifetime"] == before + 10).then_some(())
        })
        .await;
        // A household that was not read yet: others may be answered from the cache.
        let key = if name == "mongodb" { "2" } else { "3" };
        let body = json!({
            "entity": "household", "keys": [key], "metadata": true,
            "features": ["household_spend:lines_lifetime", "household_profile:income", "household_frequency:lines_90d"],
        });
        let (status, answer) = post_json(&format!("{server}/v1/features"), &body).await;
        assert_eq!(status, 200);
        let lost = if name == "mongodb" { "household_profile:income" } else { "household_frequency:lines_90d" };
        assert_eq!(answer["results"][0]["metadata"][lost]["status"], "ERROR", "{answer}");
        assert_eq!(answer["results"][0]["metadata"]["household_spend:lines_lifetime"]["status"], "PRESENT");
        store.start().await.unwrap();
        world.drained(LIMIT).await;
    }
    exact(&world, &server, 1_500).await;
    world.stack.down().await.unwrap();
}
