//! Definitions as people write them, right and wrong.

use super::*;

const GOOD: &str = r#"
entities:
  household: { key: household_id, type: int64, description: A loyalty-card household }
  product: { key: product_id, type: int64 }
events:
  purchase: { partition_by: household, entities: [household, product] }
views:
  - name: household_spend
    entity: household
    from: [purchase]
    features:
      - { name: spend, agg: sum, value: properties.sales_value, type: "decimal(18,2)", windows: [5m, 1h, 7d, 30d, lifetime] }
      - { name: recent_products, agg: last_n, n: 5, value: product_id }
      - { name: session_lines, agg: count, window: { session: 30m } }
  - name: product_popularity
    entity: product
    from: [purchase]
    features:
      - { name: lines, agg: count, windows: [7d] }
services:
  basket_model: { v1: ["household_spend:spend_7d", "household_spend:spend_30d"] }
"#;

fn compile(yaml: &str) -> Result<Definitions, String> {
    Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: Default::default() })
        .map_err(|e| e.to_string())
}

#[test]
fn features_are_named_by_their_windows() {
    let definitions = compile(GOOD).unwrap();
    let names: Vec<&str> = definitions.views[0].features.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        ["spend_5m", "spend_1h", "spend_7d", "spend_30d", "spend_lifetime", "recent_products", "session_lines"]
    );
    assert_eq!(definitions.feature("household_spend:spend_7d"), Some((0, 2)));
    assert_eq!(definitions.feature("household_spend@2:spend_7d"), None);
    assert_eq!(definitions.service("basket_model@1").unwrap().features, [(0, 2), (0, 3)]);
    assert_eq!(definitions.service("basket_model"), definitions.service("basket_model@1"));
}

#[test]
fn an_entity_that_events_are_not_partitioned_by_has_a_slot_per_partition() {
    let definitions = compile(GOOD).unwrap();
    assert_eq!(definitions.views[0].slots, Slots::Known);
    assert_eq!(definitions.views[1].slots, Slots::All);
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let bad = GOOD
        .replace("agg: last_n, n: 5", "agg: last_n")
        .replace("windows: [7d]", "window: { session: 7d }")
        .replace("household_spend:spend_30d", "household_spend:spend_31d");
    let message = compile(&bad).unwrap_err();
    assert!(
        message.contains("line 13: `household_spend:recent_products`: `last_n` needs `n` between 1 and 1000"),
        "{message}"
    );
    assert!(message.contains("line 19: a session needs a redis view"), "{message}");
    assert!(message.contains("there is no feature `household_spend:spend_31d`"), "{message}");
}

#[test]
fn a_summed_decimal_leaves_room_for_its_sum() {
    let view = |agg: &str, precision: u8| {
        compile(&format!(
            "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
             - {{ name: v, entity: user, from: [click], features: [{{ name: n, agg: {agg}, value: properties.x, type: \"decimal({precision},2)\" }}] }}"
        ))
        .map(|_| ())
    };
    assert_eq!((view("sum", 28), view("max", 38)), (Ok(()), Ok(())));
    for agg in ["sum", "mean"] {
        let said = view(agg, 29).unwrap_err();
        assert!(said.contains("line 4: `v:n`: a summed decimal has at most 28 digits"), "{said}");
    }
}

#[test]
fn an_unknown_field_is_refused_with_its_line() {
    let message = compile(&GOOD.replace("from: [purchase]", "form: [purchase]")).unwrap_err();
    assert!(message.contains("line") && message.contains("form"), "{message}");
}

#[test]
fn names_that_the_warehouse_has_taken_are_refused() {
    let message = compile(&GOOD.replace("purchase", "events_daily")).unwrap_err();
    assert!(message.contains("has the name of one of Millrace's own tables"), "{message}");
    let message = compile(&GOOD.replace("product_id", "stream_ms")).unwrap_err();
    assert!(message.contains("key field `stream_ms` is a reserved name"), "{message}");
}

#[test]
fn values_are_served_again_as_long_as_their_view_says_but_never_those_in_redis() {
    let cache = |fields: &str| {
        let yaml =
            "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }\nviews:\n";
        let view =
            format!("  - {{ name: v, entity: user, {fields}, from: [click], features: [{{ name: n, agg: count }}] }}");
        compile(&format!("{yaml}{view}")).map(|definitions| definitions.views[0].cache)
    };
    assert_eq!(cache("store: mongodb"), Ok(None));
    for (store, text, expected) in [("mongodb", "90s", 90_000), ("clickhouse", "5m", 300_000), ("mongodb", "0s", 0)] {
        assert_eq!(cache(&format!("store: {store}, cache: {text}")), Ok(Some(expected)));
    }
    assert!(cache("cache: 60s").unwrap_err().contains("line 4: `cache` belongs to mongodb and clickhouse views"));
    assert!(cache("store: mongodb, cache: never").unwrap_err().contains("line 4: cache `never` is not a duration"));
}

#[test]
fn entities_are_found_by_plain_values_in_mongodb() {
    let yaml = |store: &str, feature: &str| {
        compile(&format!(
            "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
             - {{ name: v, entity: user, store: {store}, from: [click], features: [{{ name: n, {feature} }}] }}"
        ))
        .map(|definitions| definitions.views[0].features[0].index)
    };
    assert_eq!(yaml("mongodb", "agg: count, index: true"), Ok(true));
    assert_eq!(yaml("mongodb", "agg: count"), Ok(false));
    assert!(yaml("redis", "agg: count, index: true").unwrap_err().contains("line 4: `index` belongs to mongodb views"));
    let list = "agg: last_n, n: 2, value: user_id, index: true";
    assert!(yaml("mongodb", list).unwrap_err().contains("no entity is found by a list<int64>"));
}

const BATCH: &str = r#"
entities:
  household: { key: household_id, type: int64 }
events:
  purchase: { partition_by: household }
views:
  - name: household_orders
    entity: household
    query: |
      SELECT household_id, sum(sales_value) AS amount_7d FROM purchase
      WHERE event_time >= {as_of:DateTime64(3, 'UTC')} - INTERVAL 7 DAY GROUP BY household_id
    schedule: { cron: "0 0 * * *", time_zone: Europe/Berlin }
    features:
      - { name: amount_7d, type: "decimal(18,2)", default: "0.00" }
services:
  orders: { v1: ["household_orders:amount_7d"] }
"#;

#[test]
fn a_batch_view_is_a_query_with_a_schedule_and_an_end() {
    let definitions = compile(BATCH).unwrap();
    let view = &definitions.views[0];
    let batch = view.batch.as_ref().unwrap();
    assert!(batch.query.starts_with("SELECT household_id") && batch.query.ends_with("GROUP BY household_id"));
    assert_eq!(batch.schedule.as_ref().unwrap().to_string(), "0 0 * * * Europe/Berlin");
    assert_eq!((view.ttl, view.slots, view.store), (Some(25 * 3_600_000), Slots::Batch, Store::Redis));
    assert_eq!(view.horizon(), None, "a hash with a batch slot in it never expires");
    assert!(definitions.events[0].routes.is_empty() && definitions.events[0].paths.is_empty());
}

#[test]
fn what_belongs_to_the_other_kind_of_view_is_refused_with_its_line() {
    for (from, to, message) in [
        (
            "entity: household\n",
            "entity: household\n    from: [purchase]\n",
            "line 7: write `from` (streamed) or `query`",
        ),
        ("{ name: amount_7d, ", "{ name: amount_7d, agg: sum, ", "line 14: `agg` belongs to streamed views"),
        ("{ name: amount_7d, ", "{ name: amount_7d, windows: [7d], ", "line 14: `windows` belongs to streamed views"),
        ("type: \"decimal(18,2)\", ", "", "line 14: `type` of `amount_7d` is missing"),
        ("name: amount_7d", "name: household_id", "line 14: feature `household_id` is called like a column"),
        ("    query: |", "    store: clickhouse\n    query: |", "a batch view is kept in redis or mongodb"),
        ("GROUP BY household_id", "GROUP BY household_id)", "line 7: view `household_orders`: `query` closes"),
        ("Europe/Berlin", "Europe/Berli", "line 12: time zone `Europe/Berli` is not known"),
        ("0 0 * * *", "0 0 * *", "line 12: cron `0 0 * *` has not five fields"),
        ("0 0 * * *", "0 0 * * SUN", "line 7: ttl 25h ends before the next run may come, after 169h"),
    ] {
        assert!(BATCH.contains(from), "{from}");
        let said = compile(&BATCH.replace(from, to)).unwrap_err();
        assert!(said.contains(message), "{said}");
    }
    let said = compile(&GOOD.replace("from: [purchase]", "schedule: { cron: \"0 0 * * *\" }")).unwrap_err();
    assert!(said.contains("`schedule` belongs to batch views"), "{said}");
    assert!(said.contains("`from` names no event; a batch view has a `query` instead"), "{said}");
    let said = compile(&GOOD.replace("agg: count, windows", "windows")).unwrap_err();
    assert!(said.contains("`agg` of `lines` is missing"), "{said}");
}

#[test]
fn a_view_that_its_store_could_not_take_is_refused_before_it_has_state() {
    let view = |store: &str, feature: &str| {
        let line = format!("      - {{ name: x, value: properties.x, {feature} }}");
        compile(&format!(
            "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
             - name: v\n    entity: user\n    store: {store}\n    lateness: 30d\n    from: [click]\n    features:\n{line}\n"
        ))
    };
    for (store, feature) in [
        ("redis", "agg: last_n, n: 1000, type: string"),
        ("redis", "agg: last_n, n: 1000, type: int64, windows: [1h, 7d, 30d, 90d]"),
        ("redis", "agg: last_n, n: 100, type: string, windows: [7d, lifetime]"),
        ("redis", "agg: distinct_count, type: string, windows: [1h, 7d, 30d]"),
        ("redis", "agg: last, type: vector(65536)"),
        ("mongodb", "agg: last_n, n: 400, type: string"),
        ("mongodb", "agg: last, type: \"map<string,string>\""),
        ("mongodb", "agg: distinct_count, type: string"),
        ("clickhouse", "agg: last_n, n: 1000, type: string, windows: [90d]"),
    ] {
        assert_eq!(view(store, feature).err(), None, "{store} {feature}");
    }
    for (store, feature, said) in [
        ("redis", "agg: last_n, n: 1000, type: string, windows: [7d]", "1370 MiB, and redis gets 256 MiB at most"),
        ("redis", "agg: distinct_count, type: string, window: { sliding: 1d, hop: 2m }", "and redis gets 256 MiB"),
        ("redis", "agg: last_n, n: 1000, type: vector(65536)", "and redis gets 256 MiB"),
        ("redis", "agg: last, type: string, window: { session: 1s }", "and redis gets 256 MiB"),
        ("mongodb", "agg: last_n, n: 1000, type: string", "32 MiB, and mongodb gets 16 MiB at most"),
    ] {
        let message = view(store, feature).unwrap_err();
        assert!(message.contains("line 4: view `v@1`: what it keeps") && message.contains(said), "{message}");
    }
}

#[test]
fn a_default_is_a_value_of_its_features_type() {
    let feature = |feature: &str| {
        let line = format!("      - {{ name: x, {feature} }}");
        let yaml = GOOD.replace("      - { name: lines, agg: count, windows: [7d] }", &line);
        compile(&yaml.replace("product_popularity", "p"))
            .map(|definitions| definitions.views[1].features[0].default.clone())
    };
    let value = |rest: &str| format!("value: properties.x, {rest}");
    for (written, kept) in [
        ("agg: count, default: 0".to_owned(), Some(serde_json::json!(0))),
        ("agg: count, default: null".to_owned(), None),
        (value("agg: last, type: \"decimal(18,2)\", default: 0"), Some("0.00".into())),
        (value("agg: last, type: \"decimal(18,2)\", default: \"1.5\""), Some("1.50".into())),
        (value("agg: mean, type: int64, default: 1"), Some(1.0.into())),
        (value("agg: last, type: int64, default: 9007199254740993"), Some("9007199254740993".into())),
        (value("agg: last, type: string, default: unknown"), Some("unknown".into())),
        (value("agg: last, type: timestamp, default: \"1970-01-01T00:00:01Z\""), Some(1_000.into())),
        (value("agg: last_n, n: 2, type: float64, default: [1]"), Some(serde_json::json!([1.0]))),
        (value("agg: last_n, n: 2, type: int64, default: []"), Some(serde_json::json!([]))),
        (value("agg: last, type: \"map<string,int64>\", default: {}"), Some(serde_json::json!({}))),
    ] {
        assert_eq!(feature(&written), Ok(kept), "{written}");
    }
    for (written, said) in [
        (
            "agg: count, default: none".to_owned(),
            "`default` \"none\" of `x` is not a value of type int64: expected int64, got \"none\"",
        ),
        ("agg: count, default: 1.5".to_owned(), "`default` 1.5 of `x` is not a value of type int64"),
        (
            value("agg: last, type: \"decimal(18,2)\", default: 0.125"),
            "`default` 0.125 of `x` is not a value of type decimal(18,2)",
        ),
        (value("agg: last, type: bool, default: 0"), "`default` 0 of `x` is not a value of type bool"),
        (value("agg: last_n, n: 2, type: int64, default: 0"), "`default` 0 of `x` is not a value of type list<int64>"),
        (
            value("agg: last, type: \"vector(2)\", default: [1]"),
            "`default` [1] of `x` is not a value of type vector(2)",
        ),
    ] {
        let message = feature(&written).unwrap_err();
        assert!(message.contains(said) && message.starts_with("line 19: "), "{message}");
    }
    let message = compile(&BATCH.replace("default: \"0.00\"", "default: none")).unwrap_err();
    assert!(
        message.contains("line 14: `default` \"none\" of `amount_7d` is not a value of type decimal(18,2)"),
        "{message}"
    );
}

#[test]
fn a_service_version_has_one_name() {
    for label in ["v01", "v+1", "v0", "v", "1", "v1 ", "V1", "v4294967296"] {
        let bad = GOOD.replace("{ v1: [", &format!("{{ v1: [\"household_spend:spend_7d\"], \"{label}\": ["));
        let message = compile(&bad).unwrap_err();
        assert!(message.contains(&format!("a version is v1, v2, …, not `{label}`")), "{message}");
    }
}

#[test]
fn a_schema_lies_beside_its_definitions() {
    let with = |path: &str| GOOD.replace("[household, product] }", &format!("[household, product], schema: {path} }}"));
    for path in ["../secret.json", "/etc/secret.json", "a/../../secret.json", "a/.."] {
        let yaml = with(path);
        assert_eq!(DefinitionsSource::schema_files(&yaml), [], "{path}");
        let schemas = [(path.to_owned(), serde_json::json!({}))].into();
        let said = Definitions::compile(DefinitionsSource { yaml, schemas }).unwrap_err().to_string();
        assert!(
            said.contains("line 6: event `purchase`: schema") && said.contains("lies outside the folder"),
            "{said}"
        );
    }
    let file = SchemaFile { path: "./schemas/a.json".into(), event: "purchase".into(), line: 6 };
    assert_eq!(DefinitionsSource::schema_files(&with("./schemas/a.json")), [file]);
}
