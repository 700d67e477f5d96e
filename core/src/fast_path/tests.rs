//! The fast path checked against the strict path, which is its naive twin.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::reader::EventReader;
use super::tokens::Tokens;
use super::validate::valid_parts;
use crate::definitions::{Definitions, DefinitionsSource};
use crate::event::{Event, EventForm, EventId, RawEvent, Rejected};

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

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(definitions);

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

fn fast(text: &str) -> Option<Event> {
    valid_parts(&DEFINITIONS, Tokens::default().read(text)?, NOW).map(|parts| parts.into_event(made))
}

fn strict(text: &str) -> Result<Event, Rejected> {
    RawEvent::parse(text, EventForm::Nested)?.validate(&DEFINITIONS, NOW, made)
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

/// Properties that are mostly valid, so that many events are.
fn properties() -> impl Strategy<Value = String> {
    let money = proptest::sample::select(&["1", "1.5", "\"1.50\"", "\"2.125\"", "-0", "12.0", "\"9.9999\""][..]);
    let one = proptest::sample::select(&["", ",\"s\":\"x\\\"\"", ",\"s\":7", ",\"s\":null", ",\"é\":1e2"][..]);
    let two = proptest::sample::select(
        &["", ",\"b\":{\"c\":5,\"a\":1.50}", ",\"x\":[null,1.50,{\"z\":0,\"a\":-0.0,\"n\":null}]", ",\"b\":{}"][..],
    );
    let good = (one, money, two).prop_map(|(one, money, two)| {
        let members = format!("{one},\"a\":{money}{two}");
        format!("{{{}}}", members.trim_start_matches(','))
    });
    let with = (proptest::sample::select(NAMES), value())
        .prop_map(|(name, value)| format!("{{\"a\":\"1.25\", \"{name}\" : {value}}}"));
    prop_oneof![6 => good, 4 => with, 1 => object(value()), 1 => value()]
}

fn event() -> impl Strategy<Value = String> {
    let any_of =
        |name: &'static str| proptest::sample::select(SCALARS).prop_map(move |value| format!("\"{name}\":{value}"));
    let just = |text: &str| Just(text.to_owned());
    let field = |name: &'static str, good: &str| prop_oneof![6 => just(""), 3 => just(good), 1 => any_of(name)];
    let kind = prop_oneof![
        8 => just(r#""type":"click","user_id": 5"#),
        3 => just(r#""item_id":"a/b","type":"bare""#),
        1 => just(r#""type":"click""#),
        1 => just(r#""user_id":5,"type":1"#),
        2 => any_of("user_id").prop_map(|user| format!("\"type\":\"click\",{user}")),
        1 => any_of("item_id").prop_map(|item| format!("\"type\":\"bare\",{item}")),
    ];
    let place = prop_oneof![
        6 => just(""), 2 => just(r#""country":"nl","town":"03""#), 1 => just(r#""town":null"#), 1 => any_of("town"),
    ];
    let odd = prop_oneof![20 => just(""), 1 => any_of("traceparent"), 1 => any_of("other"), 1 => any_of("type")];
    let time = field("time", r#""time":"2023-11-14T12:00:00+01:00""#);
    let fields = (place, field("id", r#""id":"e1""#), time, field("source", r#""source":"till""#), odd);
    (kind, fields, properties(), any::<bool>()).prop_map(|(kind, (a, b, c, d, e), properties, first)| {
        let mut members = vec![kind, format!("\"properties\" :{properties}"), a, b, c, d, e];
        members.retain(|member| !member.is_empty());
        if first {
            members.reverse();
        }
        format!(" {{{}}}\n", members.join(", "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn an_event_that_the_fast_path_accepts_is_the_same_on_the_strict_path(text in event(), cut in any::<proptest::sample::Index>(), by in 0u8..20) {
        let mut texts = vec![text.clone()];
        // Damaged in one place, too.
        let place = text.char_indices().map(|(at, _)| at).nth(cut.index(text.chars().count())).unwrap();
        let with = ["", "\"", "{", "}", "[", "]", ",", ":", "\\", "0", "-", ".", "e", " ", "\u{1}", "é", "null", "\"a\":1,", "/", "}}"];
        texts.push(format!("{}{}{}", &text[..place], with[usize::from(by)], &text[place..]));
        texts.push(text.chars().enumerate().filter(|(at, _)| *at != cut.index(text.chars().count())).map(|(_, c)| c).collect());
        for text in texts {
            if let Some(event) = fast(&text) {
                prop_assert_eq!(Ok(event), strict(&text), "{}", text);
            }
        }
    }
}

#[test]
fn many_generated_events_take_each_path() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let texts: Vec<String> = (0..1_000).map(|_| event().new_tree(&mut runner).unwrap().current()).collect();
    let valid = texts.iter().filter(|text| strict(text).is_ok()).count();
    let fast = texts.iter().filter(|text| fast(text).is_some()).count();
    assert!(
        (100..900).contains(&valid) && fast <= valid && fast * 2 > valid,
        "{valid} events are valid, {fast} take the fast path"
    );
}

#[test]
fn ordinary_events_take_the_fast_path() {
    for text in [
        r#"{"type":"click","user_id":5,"properties":{"a":1.5}}"#,
        r#"{"type":"click","id":"e1","source":"till","time":1600000000000,"user_id":"05","country":"nl","town":3,
            "traceparent":null,"properties":{"s":"x\"","a":"12.5","b":{"c":7},"x":[null,2.50]}}"#,
        r#"{"type":"click","user_id":5,"country":null,"properties":{"x":[null,{"y":null}],"s":null,"a":1}}"#,
        r#"{"item_id":"a/b","type":"bare","time":"2023-11-14T12:00:00Z","properties":{"z":1,"a":{"y":[],"b":-0.0}}}"#,
    ] {
        assert_eq!(fast(text), Some(strict(text).unwrap()), "{text}");
    }
    let event = fast(r#"{"type":"click","user_id":5,"properties":{"s":"x","a":12.5}}"#).unwrap();
    assert_eq!(event.properties, r#"{"a":"12.500","s":"x"}"#);
}

#[test]
fn an_event_that_the_strict_path_refuses_is_left_to_it() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for properties in
        [r#"{"a":1,"a":2}"#, r#"{"a":null,"a":2}"#, r#"{"a":1e30}"#, r#"{"a":1,"b.c":2}"#, "null", "[]", &deep]
    {
        let text = format!(r#"{{"type":"click","user_id":5,"properties":{properties}}}"#);
        assert_eq!(fast(&text), None, "{text}");
        assert!(strict(&text).is_err(), "{text}");
    }
}

#[test]
fn a_name_given_twice_is_named_in_either_form() {
    for (text, name) in [
        (r#"{"type":"click","user_id":5,"id":null,"id":"e1","properties":{"a":1}}"#, "id"),
        (r#"{"user_id":5,"type":"click","user_id":5,"properties":{"a":1}}"#, "user_id"),
        (r#"{"properties":{},"type":"click","user_id":5,"properties":{"a":1}}"#, "properties"),
    ] {
        assert_eq!(fast(text), None, "{text}");
        for form in [EventForm::Nested, EventForm::Flat] {
            assert_eq!(RawEvent::parse(text, form).unwrap_err(), Rejected::new(name, "this field is given twice"));
        }
    }
}

#[test]
fn the_first_event_of_a_longer_text_is_read_as_if_it_stood_alone() {
    for (event, rest) in [
        (r#"{"type":"click","user_id":5,"properties":{"a":1.5}}"#, r#" , {"type":"#),
        (r#"{"type":"click","user_id":5,"properties":{"a":"x"}}"#, "]"),
        (r#"{"type":"none"}"#, "garbage"),
        (r#"{"type":"bare","item_id":"a","properties":{"{":"}]"}}"#, ""),
    ] {
        let text = format!("{event}{rest}");
        let first = EventReader::new(&DEFINITIONS, EventForm::Nested).read_first(&text, NOW, made).unwrap();
        assert_eq!((first.length, first.event), (event.len(), strict(event)), "{text}");
    }
    for text in ["", " ", "]", "[{}]", "1", r#"{"a":1"#, r#"{"a":1,"a":2}"#] {
        assert!(EventReader::new(&DEFINITIONS, EventForm::Nested).read_first(text, NOW, made).is_none(), "{text}");
    }
    let flat = r#"{"type":"bare","item_id":"a"}"#;
    assert!(EventReader::new(&DEFINITIONS, EventForm::Flat).read_first(flat, NOW, made).is_none());
}
