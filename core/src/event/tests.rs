//! The short way to an event against the long one, which is its naive twin.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::definitions::DefinitionsSource;

const NOW: i64 = 1_700_000_000_000;

const YAML: &str = r#"
entities: { user: { key: user_id, type: int64 }, place: { key: [country, town], type: [string, int64] }, item: { key: item_id, type: string } }
events:
  click: { partition_by: user, entities: [place], schema: click.json }
  bare: { partition_by: item }
views:
  - name: clicks
    entity: user
    from: [click]
    features:
      - { name: a, agg: sum, value: properties.a, type: "decimal(18,2)", windows: [1h] }
      - { name: b, agg: last, value: properties.b.c, type: int64, windows: [1h] }
      - { name: n, agg: last, value: properties.b, type: "map<string,float64>", windows: [1h] }
  - name: places
    entity: place
    from: [click]
    features:
      - { name: a, agg: sum, value: properties.a, type: "decimal(20,3)", windows: [1h] }
      - { name: s, agg: last, value: properties.s, type: string, windows: [1h] }
"#;

fn definitions() -> Definitions {
    let schema = json!({
        "type": "object",
        "required": ["a"],
        "maxProperties": 4,
        "properties": {
            "a": { "type": ["string", "number"] },
            "b": { "type": "object", "minProperties": 1 },
            "s": { "type": ["string", "integer"], "maxLength": 3, "not": { "enum": ["bad", 7] } },
            "x": { "uniqueItems": true, "contains": { "type": "null" } },
        },
        "propertyNames": { "pattern": "^[a-zé]{1,2}$" },
    });
    let schemas = BTreeMap::from([("click.json".to_owned(), schema)]);
    Definitions::compile(DefinitionsSource { yaml: YAML.to_owned(), schemas }).unwrap()
}

fn made() -> EventId {
    EventId::Made("made".to_owned())
}

fn short(definitions: &Definitions, text: &str) -> Option<Event> {
    swift::short(definitions, text, NOW, made)
}

fn long(definitions: &Definitions, text: &str) -> Result<Event, Rejected> {
    RawEvent::parse(text, false)?.validate(definitions, NOW, made)
}

const SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "0e7",
    "1",
    "-17",
    "007",
    "1.5",
    "1.50",
    "12.345",
    "1e2",
    "1E-3",
    "1e400",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "999999999999999999",
    "1000000000000000000",
    "0.1",
    "1.",
    ".5",
    "-",
    "\"\"",
    "\"a\"",
    "\"bad\"",
    "\"12.5\"",
    "\"-0.5\"",
    "\"12.5000\"",
    "\"007\"",
    "\"a\\n\\u00e9\"",
    "\"é\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"a,b/{c}\"",
    "\"\u{7f}\"",
    "\"\t\"",
    "\"\\/\"",
    "tru",
    "nullx",
    "1700000000000",
    "\"2023-11-14T12:00:00Z\"",
    "\"2923-11-14T12:00:00Z\"",
    "7",
];

const NAMES: &[&str] = &["a", "b", "c", "s", "x", "é", "", "a.b", "\\u0061", "long"];

fn value() -> impl Strategy<Value = String> {
    let scalar = proptest::sample::select(SCALARS).prop_map(str::to_owned);
    scalar.prop_recursive(3, 12, 4, |inner| {
        let array = proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,")));
        prop_oneof![array, object(inner)]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    proptest::collection::vec((proptest::sample::select(NAMES), value), 0..5).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// Properties that are mostly good, so that many events are.
fn properties() -> impl Strategy<Value = String> {
    let money = proptest::sample::select(&["1", "1.5", "\"1.50\"", "\"2.125\"", "-0", "12.0", "\"9.9999\""][..]);
    let rest = proptest::sample::select(
        &[
            "",
            ",\"s\":\"x\\\"\"",
            ",\"s\":7",
            ",\"b\":{\"c\":5,\"a\":null}",
            ",\"x\":[null,1.50,{\"z\":0,\"a\":-0.0}]",
            ",\"b\":{}",
        ][..],
    );
    prop_oneof![
        (money, rest.clone(), rest).prop_map(|(money, one, two)| format!("{{\"a\":{money}{one}{two}}}")),
        object(value()),
        value(),
    ]
}

fn event() -> impl Strategy<Value = String> {
    let scalar = || proptest::sample::select(SCALARS).prop_map(str::to_owned);
    let field = |name: &'static str| {
        let field = scalar().prop_map(move |value| Some(format!("\"{name}\":{value}")));
        prop_oneof![3 => Just(None), 2 => field]
    };
    let kind = prop_oneof![4 => Just("\"click\""), 1 => Just("\"bare\""), 1 => Just("\"none\""), 1 => Just("1")];
    let user = prop_oneof![3 => Just(Some("\"user_id\":5".to_owned())), 1 => field("user_id")];
    let fields = (
        user,
        field("country"),
        field("town"),
        field("item_id"),
        field("id"),
        field("time"),
        field("source"),
        prop_oneof![9 => Just(None), 1 => field("traceparent"), 1 => field("other"), 1 => field("type")],
    );
    (kind, fields, properties(), any::<bool>()).prop_map(|(kind, fields, properties, first)| {
        let (a, b, c, d, e, f, g, h) = fields;
        let mut members = vec![format!("\"type\": {kind}"), format!("\"properties\" :{properties}")];
        members.extend([a, b, c, d, e, f, g, h].into_iter().flatten());
        if first {
            members.reverse();
        }
        format!(" {{{}}}\n", members.join(", "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn where_the_short_way_says_yes_the_long_way_says_the_same(text in event(), cut in any::<proptest::sample::Index>(), by in 0u8..20) {
        let definitions = definitions();
        let mut texts = vec![text.clone()];
        // Damaged in one place, too.
        let place = text.char_indices().map(|(at, _)| at).nth(cut.index(text.chars().count())).unwrap();
        let with = ["", "\"", "{", "}", "[", "]", ",", ":", "\\", "0", "-", ".", "e", " ", "\u{1}", "é", "null", "\"a\":1,", "/", "}}"];
        texts.push(format!("{}{}{}", &text[..place], with[usize::from(by)], &text[place..]));
        texts.push(text.chars().enumerate().filter(|(at, _)| *at != cut.index(text.chars().count())).map(|(_, c)| c).collect());
        for text in texts {
            if let Some(event) = short(&definitions, &text) {
                prop_assert_eq!(Ok(event), long(&definitions, &text), "{}", text);
            }
        }
    }
}

#[test]
fn ordinary_events_go_the_short_way() {
    let definitions = definitions();
    for text in [
        r#"{"type":"click","user_id":5,"properties":{"a":1.5}}"#,
        r#"{"type":"click","id":"e1","source":"till","time":1600000000000,"user_id":"05","country":"nl","town":3,
            "traceparent":null,"properties":{"s":"x\"","a":"12.5","b":{"c":7},"x":[null,2.50]}}"#,
        r#"{"type":"click","user_id":5,"country":null,"properties":{"x":[null,{"y":null}],"s":null,"a":1}}"#,
        r#"{"item_id":"a/b","type":"bare","time":"2023-11-14T12:00:00Z","properties":{"z":1,"a":{"y":[],"b":-0.0}}}"#,
    ] {
        assert_eq!(short(&definitions, text), Some(long(&definitions, text).unwrap()), "{text}");
    }
    let event = short(&definitions, r#"{"type":"click","user_id":5,"properties":{"s":"x","a":12.5}}"#).unwrap();
    assert_eq!(event.properties, r#"{"a":"12.500","s":"x"}"#);
}

#[test]
fn what_the_long_way_would_refuse_is_left_to_it() {
    let definitions = definitions();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for properties in
        [r#"{"a":1,"a":2}"#, r#"{"a":null,"a":2}"#, r#"{"a":1e30}"#, r#"{"a":1,"b.c":2}"#, "null", "[]", &deep]
    {
        let text = format!(r#"{{"type":"click","user_id":5,"properties":{properties}}}"#);
        assert_eq!(short(&definitions, &text), None, "{text}");
        assert!(long(&definitions, &text).is_err(), "{text}");
    }
}
