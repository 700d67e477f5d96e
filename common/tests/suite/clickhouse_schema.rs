//! Tables, migrations and the typed views of event types, on the real engine.

use crate::warehouse;

use std::collections::BTreeMap;

use millrace_common::stores::clickhouse::{ClickHouseError, Layout, Rows, migrate};
use millrace_core::definitions::{Definitions, DefinitionsSource};
use millrace_core::event::{EventForm, EventId, RawEvent};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use serde_json::json;
use warehouse::warehouse;

const YAML: &str = r#"
entities:
  household: { key: household_id, type: int64 }
  place: { key: [city, house], type: [string, int64] }
events:
  purchase: { partition_by: household, entities: [place], schema: purchase.json }
views:
  - name: spend
    entity: household
    from: [purchase]
    features:
      - { name: spend, agg: sum, value: properties.sales_value, type: "decimal(18,2)" }
      - { name: coupons, agg: count, value: properties.coupon }
      - { name: deep, agg: max, value: properties.a.b, type: int64 }
"#;

fn definitions() -> Definitions {
    let schema = json!({ "type": "object", "properties": {
        "sales_value": { "type": ["number", "string"] },
        "quantity": { "type": "integer" },
        "coupon": { "type": "boolean" },
        "source": { "type": "string" },
        "odd `name`": { "type": ["null", "number"] },
        "tags": { "type": "array" },
    }});
    let schemas = BTreeMap::from([("purchase.json".to_owned(), schema)]);
    Definitions::compile(DefinitionsSource { yaml: YAML.into(), schemas }).unwrap()
}

#[tokio::test]
async fn an_event_type_has_a_typed_view_without_duplicates() {
    let (store, _guard) = warehouse("views").await;
    let definitions = definitions();
    for _ in 0..2 {
        store.apply_definitions(&definitions).await.unwrap();
    }
    let text = r#"{"type":"purchase","id":"e1","household_id":7,"city":"a,b","house":-1,"time":1000,"properties":
        {"sales_value":12.5,"quantity":3,"coupon":true,"source":"till","odd `name`":1.5,"tags":["x"],"a":{"b":"9007199254740993"}}}"#;
    let event = RawEvent::parse(text, EventForm::Nested).unwrap();
    let event = event.validate(&definitions, 2_000_000, || EventId::Made("x".into())).unwrap();
    let layout = Layout::new(&definitions);
    for token in ["once", "and again"] {
        let mut rows = Rows::default();
        layout.push(&mut rows, Partition(1), Position::new(2_000, 5), &event);
        store.insert(&layout, rows, token).await.unwrap();
    }
    let sql = "SELECT toJSONString(map('rows', toString(count()), 'key', toString(any((household_id, city, house))), \
         'types', toString(any([toTypeName(sales_value), toTypeName(quantity), toTypeName(coupon), toTypeName(`a.b`)])), \
         'values', toString(any((sales_value, quantity, coupon, source, `properties.source`, `odd \\`name\\``, tags, `a.b`))), \
         'time', toString(any((event_time, feature_time, stream_time))))) FROM purchase";
    let row: String = store.client().query_raw(sql).fetch_one().await.unwrap();
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["rows"], "1");
    assert_eq!(row["key"], "(7,'a,b',-1)");
    assert_eq!(row["types"], "['Nullable(Decimal(38, 2))','Nullable(Int64)','Nullable(Bool)','Nullable(Int64)']");
    assert_eq!(row["values"], "(12.5,3,true,'','till',1.5,'[\"x\"]',9007199254740993)");
    assert_eq!(row["time"], "('1970-01-01 00:00:01.000','1970-01-01 00:00:01.000','1970-01-01 00:00:02.000')");
    let stored: String =
        store.client().query_raw("SELECT toString(properties) FROM purchase").fetch_one().await.unwrap();
    assert!(stored.contains(r#""sales_value":"12.50""#), "{stored}");
}

#[tokio::test]
async fn migrating_twice_changes_nothing_and_an_edited_migration_is_refused() {
    let (store, stack) = warehouse("migrations").await;
    let url = stack.map_or_else(|| std::env::var("CLICKHOUSE_URL").unwrap(), |stack| stack.clickhouse_url().to_owned());
    assert_eq!(migrate(&url, store.database()).await.unwrap(), Vec::<String>::new());
    let edit = "ALTER TABLE schema_migrations UPDATE checksum = 'other' WHERE name = '0001_events' \
         SETTINGS mutations_sync = 2";
    store.client().query_raw(edit).execute().await.unwrap();
    let refused = migrate(&url, store.database()).await.unwrap_err();
    assert!(matches!(&refused, ClickHouseError::Edited(name) if name == "0001_events"), "{refused}");
}

#[tokio::test]
async fn definitions_are_recorded_once_and_another_log_s_are_refused() {
    let (store, _guard) = warehouse("definitions").await;
    let definitions = definitions();
    for _ in 0..2 {
        store.record_definitions(&definitions, 1).await.unwrap();
    }
    let count: u64 = store.client().query_raw("SELECT count() FROM definitions").fetch_one().await.unwrap();
    assert_eq!(count, 1);
    let other = DefinitionsSource { yaml: "entities: {}".into(), schemas: BTreeMap::new() };
    let other = Definitions::compile(other).unwrap();
    let refused = store.record_definitions(&other, 1).await.unwrap_err();
    assert!(matches!(refused, ClickHouseError::OtherDefinitions(1)), "{refused}");
}
