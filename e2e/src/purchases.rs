//! A stream of numbered purchases, and what every store must hold of it. Tests of crashes and outages share this.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{World, eventually, get, post_json};

/// The longest that anything may take.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The number of households: purchase `n` is of household `n % HOUSEHOLDS`.
pub const HOUSEHOLDS: i64 = 50;
/// The number of products, in the same way.
const PRODUCTS: i64 = 7;

/// Sends one batch until every event of it is accepted. Sends it again as an app server would: whole.
pub async fn send(url: &str, from: i64, count: i64) {
    let events: Value = (from..from + count).map(|n| purchase(n, None)).collect();
    eventually("the events are accepted", LIMIT, || async {
        let (status, answer) = post_json(url, &events).await;
        (status == 202 && answer["accepted"] == count).then_some(())
    })
    .await;
}

/// Purchase `n`, with a note where one is given.
pub fn purchase(n: i64, note: Option<&str>) -> Value {
    let mut event = json!({
        "type": "purchase", "id": format!("e{n}"), "household_id": n % HOUSEHOLDS, "product_id": n % PRODUCTS,
        "properties": { "sales_value": "0.01" },
    });
    if let Some(note) = note {
        event["properties"]["note"] = note.into();
    }
    event
}

/// Waits until the log is drained, then counts: `events` purchases, each once, in every store.
pub async fn exact(world: &World, server: &str, events: i64) {
    world.drained(LIMIT).await;
    for household in 0..HOUSEHOLDS {
        let (_, flat) = get(&format!("{server}/api/v1/features/household/{household}")).await;
        assert_eq!(flat["lines_lifetime"], events / HOUSEHOLDS, "household {household}: {flat}");
    }
    let mut products = 0;
    for product in 0..PRODUCTS {
        let (_, flat) = get(&format!("{server}/api/v1/features/product/{product}")).await;
        products += flat["lines_lifetime"].as_i64().unwrap_or(0);
    }
    assert_eq!(products, events);
    assert_eq!(world.clickhouse("SELECT count() FROM events").await, events, "rows without FINAL");
    assert_eq!(world.clickhouse("SELECT uniqExact(event_id) FROM events").await, events);
}
