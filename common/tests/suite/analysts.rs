//! The page for analysts against the real engine: every query on it runs, and it names every table and column.

use crate::warehouse::warehouse;

use std::collections::BTreeMap;
use std::path::Path;

use millrace_common::clock::now_ms;
use millrace_common::stores::clickhouse::{ClickHouse, Layout, Rows};
use millrace_core::definitions::{Definitions, DefinitionsSource};
use millrace_core::event::{EventForm, EventId, RawEvent};
use millrace_core::position::Position;
use millrace_core::sql::{COLUMNS, TABLES};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/analysts.md");

/// The `sql` blocks of the page, in its order.
fn queries() -> Vec<&'static str> {
    let blocks = PAGE.split("\n```sql\n").skip(1);
    blocks.map(|block| block.split("\n```\n").next().expect("a block ends")).collect()
}

/// The definitions that the page speaks of.
fn example() -> Definitions {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/journey");
    let yaml = std::fs::read_to_string(dir.join("millrace.yaml")).unwrap();
    let files = DefinitionsSource::schema_files(&yaml).into_iter();
    let schemas: BTreeMap<String, Value> = files
        .map(|file| {
            let text = std::fs::read_to_string(dir.join(&file.path)).unwrap();
            (file.path, serde_json::from_str(&text).unwrap())
        })
        .collect();
    Definitions::compile(DefinitionsSource { yaml, schemas }).unwrap()
}

/// Two households' events, each row sent twice: what a lost answer can leave behind.
async fn insert_events(store: &ClickHouse, definitions: &Definitions) {
    let arrived = now_ms() - 60_000;
    let purchase = |household: u64, value: &str| {
        json!({"type": "purchase", "id": value, "source": "till", "household_id": household, "product_id": 995_242,
            "properties": {"basket_id": 1, "quantity": 2, "sales_value": value, "department": "GROCERY"}})
    };
    let profile = json!({"type": "demographics", "id": "d", "household_id": 1,
        "properties": {"income": "50-74K", "household_size": "2"}});
    let layout = Layout::new(definitions);
    for token in ["once", "and again"] {
        let mut rows = Rows::default();
        for (sequence, event) in
            [purchase(1, "3.49"), purchase(1, "1.50"), purchase(2, "0.99"), profile.clone()].iter().enumerate()
        {
            let event = RawEvent::parse(&event.to_string(), EventForm::Nested).unwrap();
            let event = event.validate(definitions, arrived, || EventId::Made("made".into())).unwrap();
            let position = Position::new(arrived.unsigned_abs(), sequence as u64);
            layout.push(&mut rows, event.partition(8), position, &event);
        }
        store.insert(&layout, rows, token).await.unwrap();
    }
}

/// The rows that a query returns, as JSON objects.
async fn rows(store: &ClickHouse, query: &str) -> Vec<Value> {
    let mut cursor = store.client().query_raw(query).fetch_bytes("JSONEachRow").unwrap();
    let answer = cursor.collect().await.unwrap_or_else(|error| panic!("{error}\n{query}"));
    let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[tokio::test]
async fn every_query_for_analysts_runs() {
    let (store, _guard) = warehouse("analysts").await;
    let definitions = example();
    store.apply_definitions(&definitions).await.unwrap();
    store.record_definitions(&definitions, 1).await.unwrap();
    insert_events(&store, &definitions).await;

    let mut answers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for query in queries() {
        let rows = rows(&store, query).await;
        assert!(!rows.is_empty() || query.contains("FROM dead_letters"), "no row:\n{query}");
        answers.insert(query, rows);
    }
    let answer = |part: &str| {
        let found = answers.iter().find(|(query, _)| query.contains(part));
        found.unwrap_or_else(|| panic!("no query has `{part}`")).1
    };
    assert_eq!(answer("GROUP BY department")[0]["sales"], json!(5.98), "copies count once");
    assert_eq!(answer("AS spend_7d")[0], json!({"household_id": 1, "spend_7d": 4.99}));
    assert_eq!(answer("AS profile USING")[0], json!({"income": "50-74K", "sales": 4.99, "households": 1}));
    let counts = answer("optimize_move_to_prewhere_if_final = 1");
    assert!(counts.contains(&json!({"type": "purchase", "events": 3})), "{counts:?}");
    assert_eq!(answer("partition_key = '1'").len(), 3);
}

#[test]
fn the_page_names_every_table_and_column() {
    for name in TABLES.iter().chain(&COLUMNS) {
        assert!(PAGE.contains(&format!("`{name}`")), "docs/analysts.md lacks `{name}`");
    }
}
