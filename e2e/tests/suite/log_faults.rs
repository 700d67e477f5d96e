//! The log itself away or full, under the whole line: what was acknowledged stays, what was not is sent again, and a
//! full log is drained without anybody's help.

use std::time::Duration;

use millrace_devstack::services::Service;
use millrace_e2e::purchases::{HOUSEHOLDS, LIMIT, exact, send};
use millrace_e2e::{World, eventually, get, post_json};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_killed_keeps_what_it_acknowledged() {
    let world = World::own().await;
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
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.stack.redis().start().await.unwrap();
        sending.await.unwrap();
    }
    exact(&world, &services[3].url(), 1_500).await;
    world.stack.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_pushes_back_and_is_drained() {
    let world = World::own().await;
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
    // Nobody made room: consumers need none.
    world.drained(LIMIT).await;
    let (_, flat) = get(&format!("{server}/api/v1/features/household/1")).await;
    assert!(flat["lines_lifetime"].as_i64() >= Some(accepted / HOUSEHOLDS), "{flat}");
    set_maxmemory(&world, 1 << 30).await;
    // What of it the log took before it was full counts once, as after any resend.
    eventually("the refused batch is accepted", LIMIT, || async {
        let (status, answer) = post_json(&url, &refused).await;
        (status == 202 && answer["accepted"] == BATCH).then_some(())
    })
    .await;
    send(&url, accepted + BATCH, 500).await;
    exact(&world, &server, accepted + BATCH + 500).await;
    world.stack.down().await.unwrap();
}

/// Events per request, whole rounds of households.
const BATCH: i64 = 500;

/// Sends purchases with a long note until the log is full. Answers how many it took in whole batches, and the batch that
/// it did not take, or not all of.
async fn fill(url: &str) -> (i64, Value) {
    let client = reqwest::Client::new();
    let note = "x".repeat(2_000);
    let mut from = 0;
    loop {
        let event = |n: i64| {
            json!({
                "type": "purchase", "id": format!("e{n}"), "household_id": n % HOUSEHOLDS, "product_id": n % 7,
                "properties": { "sales_value": "0.01", "note": note },
            })
        };
        let events: Value = (from..from + BATCH).map(event).collect();
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
        // Memory is looked at now and then: faster than this, a test this small would fill what is kept free.
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
