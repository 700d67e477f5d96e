//! A stream of numbered purchases and what every store must hold of it: what tests of crashes and outages share.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{World, eventually, get, post_json};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Over how many households purchases go round.
pub const HOUSEHOLDS: i64 = 50;

/// Sends one batch until every event of it is accepted, as an app server would: what was not accepted again.
pub async fn send(url: &str, from: i64, count: i64) {
    let event = |n: i64| {
        json!({
            "type": "purchase", "id": format!("e{n}"), "household_id": n % HOUSEHOLDS, "product_id": n % 7,
            "properties": { "sales_value": "0.01" },
        })
    };
    let events: Value = (from..from + count).map(event).collect();
    eventually("the events are accepted", LIMIT, || async {
        let (status, answer) = post_json(url, &events).await;
        (status == 202 && answer["accepted"] == count).then_some(())
    })
    .await;
}

/// Waits until all is drained, then counts: that many purchases, each once, in every store.
pub async fn exact(world: &World, server: &str, events: i64) {
    world.drained(LIMIT).await;
    for household in 0..HOUSEHOLDS {
        let (_, flat) = get(&format!("{server}/api/v1/features/household/{household}")).await;
        assert_eq!(flat["lines_lifetime"], events / HOUSEHOLDS, "household {household}: {flat}");
    }
    let mut products = 0;
    for product in 0..7 {
        let (_, flat) = get(&format!("{server}/api/v1/features/product/{product}")).await;
        products += flat["lines_lifetime"].as_i64().unwrap_or(0);
    }
    assert_eq!(products, events);
    assert_eq!(world.clickhouse("SELECT count() FROM events").await, events, "rows without FINAL");
    assert_eq!(world.clickhouse("SELECT uniqExact(event_id) FROM events").await, events);
}
