//! The log or the feature state unavailable, or the log full, under all services: accepted events stay, others are sent
//! again, and a full log is drained without anybody's help.

use std::time::Duration;

use millrace_devstack::StoreKind;
use millrace_devstack::services::Service;
use millrace_e2e::purchases::{HOUSEHOLDS, LIMIT, exact, purchase, send};
use millrace_e2e::{World, eventually, get, own_stores, post_json};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_killed_keeps_what_it_accepted() {
    let world = World::with_own(&[StoreKind::Redis]).await;
    let services = world.start_all().await;
    let url = format!("{}/v1/events", services[0].url());
    for round in 0..3 {
        let sending = tokio::spawn({
            let url = url.clone();
            async move {
                for part in 0..5 {
                    send(&url, round * 500 + part * 100, 100).await;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(20 * u64::try_from(round).unwrap_or(0))).await;
        world.stack.redis().kill().unwrap();
        let refused = reqwest::Client::new().post(&url).json(&purchase(0, None)).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        world.stack.redis().start().await.unwrap();
        sending.await.unwrap();
    }
    exact(&world, &services[3].url(), 1_500).await;
    world.stack.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_pushes_back_and_is_drained() {
    let world = World::with_own(&[StoreKind::Redis]).await;
    let mut services: Vec<Service> = world.start_all().await;
    let (url, server) = (format!("{}/v1/events", services[0].url()), services[3].url());
    for consumer in &mut services[1..3] {
        consumer.stop().unwrap();
    }
    set_maxmemory(&world, used_memory(&world).await + (24 << 20)).await;
    let (accepted, refused) = fill(&url).await;
    for consumer in &mut services[1..3] {
        consumer.restart().unwrap();
    }
    // Nobody made room: consumers do not need any.
    world.drained(LIMIT).await;
    let (_, flat) = get(&format!("{server}/api/v1/features/household/1")).await;
    assert!(flat["lines_lifetime"].as_i64() >= Some(accepted / HOUSEHOLDS), "{flat}");
    set_maxmemory(&world, 1 << 30).await;
    // The part that the log took before it was full counts once, as after any resend.
    eventually("the refused batch is accepted", LIMIT, || async {
        let (status, answer) = post_json(&url, &refused).await;
        (status == 202 && answer["accepted"] == BATCH).then_some(())
    })
    .await;
    send(&url, accepted + BATCH, 500).await;
    exact(&world, &server, accepted + BATCH + 500).await;
    world.stack.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_on_without_the_feature_state() {
    let mut world = World::shared().await;
    let features = own_stores(&[StoreKind::Redis]).await;
    world.options.env.push(("REDIS_FEATURES_URL".to_owned(), features.redis_url().to_owned()));
    world.millrace(&["migrate"]).await;
    let services = world.start_all().await;
    let url = format!("{}/v1/events", services[0].url());
    send(&url, 0, 500).await;
    world.drained(LIMIT).await;
    features.redis().kill().unwrap();
    send(&url, 500, 500).await;
    eventually("ClickHouse has what the log took meanwhile", LIMIT, || async {
        (world.clickhouse("SELECT count() FROM events").await == 1_000).then_some(())
    })
    .await;
    features.redis().start().await.unwrap();
    exact(&world, &services[3].url(), 1_000).await;
    features.down().await.unwrap();
}

/// Events per request: each household has the same number.
const BATCH: i64 = 500;

/// Sends purchases with a long note until the log is full. Returns how many it took in whole batches, and the batch of
/// which it refused some or all.
async fn fill(url: &str) -> (i64, Value) {
    let client = reqwest::Client::new();
    let note = "x".repeat(2_000);
    let mut from = 0;
    loop {
        let events: Value = (from..from + BATCH).map(|n| purchase(n, Some(&note))).collect();
        let answer = client.post(url).json(&events).send().await.unwrap();
        let (status, retry_after) = (answer.status(), answer.headers().get("retry-after").cloned());
        let body: Value = answer.json().await.unwrap();
        match status.as_u16() {
            202 => assert_eq!(body["accepted"], BATCH, "{body}"),
            503 => {
                assert!(retry_after.is_some(), "{body}");
                assert!(body["error"].is_string(), "{body}");
                assert!(from > 0, "the log was full before it began");
                return (from, events);
            }
            _ => panic!("{status}: {body}"),
        }
        from += BATCH;
        assert!(from < 100_000, "the log never pushes back");
        // Ingest reads the memory in use now and then. Faster than this, so small a test would fill the reserve, too.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn used_memory(world: &World) -> u64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut world.redis().await).await.unwrap();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    used.trim().parse().unwrap()
}

async fn set_maxmemory(world: &World, bytes: u64) {
    let mut connection = world.redis().await;
    let set = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query_async(&mut connection).await;
    let () = set.expect("maxmemory is set");
}
