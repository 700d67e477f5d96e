//! Each content mode gives the same event as the native form, and errors of the envelope name the attribute.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use millrace_core::definitions::{Definitions, DefinitionsSource};
use millrace_core::event::{Event, EventForm, EventId};
use serde_json::json;

use super::*;

const NOW: i64 = 1_700_000_000_000;
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const YAML: &str = r#"
entities: { household: { key: household_id, type: int64 }, product: { key: product_id, type: int64 } }
events: { purchase: { partition_by: household, entities: [product] } }
views:
  - name: spend
    entity: household
    from: [purchase]
    features: [{ name: spend, agg: sum, value: properties.sales_value, type: "decimal(18,2)", windows: [1h] }]
"#;

fn validated(raw: RawEvent) -> Result<Event, Rejected> {
    let source = DefinitionsSource { yaml: YAML.to_owned(), schemas: BTreeMap::new() };
    raw.validate(&Definitions::compile(source).unwrap(), NOW, || EventId::Made("made".into()))
}

fn read(mode: CloudEventsMode<'_>, text: &str) -> Result<Event, Rejected> {
    validated(mode.raw_event(text)?)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

fn native() -> Event {
    let text = json!({
        "type": "purchase", "id": "e 1", "source": "/till/7", "time": "2023-11-14T12:00:00Z", "traceparent": TRACE,
        "household_id": 1, "product_id": 2, "properties": { "sales_value": "3.49", "n": [1, null] },
    });
    validated(RawEvent::parse(&text.to_string(), EventForm::Nested).unwrap()).unwrap()
}

fn envelope() -> Value {
    json!({
        "specversion": "1.0", "type": "purchase", "id": "e 1", "source": "/till/7", "time": "2023-11-14T12:00:00Z",
        "traceparent": TRACE, "subject": "milk", "dataschema": "https://example.com/s", "partitionkey": "9", "of": 5,
        "data": { "household_id": 1, "product_id": 2, "properties": { "sales_value": "3.49", "n": [1, null] } },
    })
}

/// The envelope with one change; a null removes the member.
fn with(name: &str, value: Value) -> String {
    let mut event = envelope();
    event[name] = value;
    if event[name].is_null() {
        event.as_object_mut().unwrap().remove(name);
    }
    event.to_string()
}

const ATTRIBUTES: [(&str, &str); 8] = [
    ("ce-specversion", "1.0"),
    ("ce-type", "purchase"),
    ("ce-id", "e%201"),
    ("ce-source", "/till/7"),
    ("CE-Time", "2023-11-14T12:00:00Z"),
    ("ce-traceparent", TRACE),
    ("ce-subject", "%ff"),
    ("content-type", "Application/JSON; charset=utf-8"),
];

#[test]
fn every_mode_gives_the_event_of_the_native_form() {
    let flat = json!({ "household_id": 1, "product_id": 2, "sales_value": 3.49, "n": [1, null] });
    let nested = envelope()["data"].clone();
    for data in [&flat, &nested] {
        assert_eq!(read(CloudEventsMode::Structured, &with("data", data.clone())), Ok(native()));
        assert_eq!(read(CloudEventsMode::Binary(&headers(&ATTRIBUTES)), &data.to_string()), Ok(native()));
        let mut encoded = envelope();
        encoded["data"] = Value::Null;
        encoded["data_base64"] = STANDARD.encode(data.to_string()).into();
        assert_eq!(read(CloudEventsMode::Batched, &encoded.to_string()), Ok(native()));
    }
}

#[test]
fn members_of_the_data_are_never_taken_for_attributes() {
    let data =
        json!({ "household_id": 1, "type": "card", "id": 7, "source": "web", "time": "noon", "traceparent": "x" });
    let event = read(CloudEventsMode::Structured, &with("data", data)).unwrap();
    assert_eq!((event.event_type.as_str(), event.id.as_str(), event.source.as_str()), ("purchase", "e 1", "/till/7"));
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    assert_eq!(event.properties, r#"{"id":7,"source":"web","time":"noon","traceparent":"x","type":"card"}"#);
}

#[test]
fn time_and_trace_may_be_absent_or_null() {
    let text = with("time", Value::Null).replace(&format!("\"{TRACE}\""), "null");
    let event = read(CloudEventsMode::Structured, &text).unwrap();
    assert_eq!((event.time, event.traceparent), (None, None));
}

#[test]
fn errors_of_an_envelope_name_the_attribute() {
    let field = |text: &str| read(CloudEventsMode::Structured, text).unwrap_err().field;
    for name in ["specversion", "type", "id", "source", "data"] {
        let error = read(CloudEventsMode::Structured, &with(name, Value::Null)).unwrap_err();
        assert!(error.field == name && error.reason.starts_with(REQUIRED), "{error}");
    }
    for name in ["specversion", "type", "id", "source", "time", "datacontenttype", "traceparent", "data_base64"] {
        assert_eq!(field(&with(name, json!(1))), name, "a number is not a string");
        assert_eq!(field(&with(name, json!(""))), name);
    }
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("specversion", json!("1.0.2")),
        ("time", json!("1700000000000")),
        ("time", json!("2099-01-01T00:00:00Z")),
        ("datacontenttype", json!("application/xml")),
        ("datacontenttype", json!("json")),
        ("id", json!("x".repeat(257))),
        ("data", json!("{\"household_id\":1}")),
        ("data", json!([])),
        ("data_base64", json!("e30=")),
    ] {
        assert_eq!(field(&with(name, value.clone())), name, "{value}");
    }
    let error = read(CloudEventsMode::Structured, &with("type", json!("com.example.purchase"))).unwrap_err();
    assert_eq!(error.to_string(), "type: unknown event type `com.example.purchase`; the known types are purchase");
    assert_eq!(field(&with("data", json!({ "sales_value": 1 }))), "household_id");
    assert_eq!(field(&with("data", json!({ "household_id": 1, "properties": [] }))), "properties");
    assert_eq!(field(&with("data", json!({ "household_id": 1, "x": 1, "properties": {} }))), "x");
    assert_eq!(field("[]"), "");
    assert_eq!(field(&envelope().to_string().replace("\"subject\"", "\"id\"")), "id", "given twice");
    let twice = envelope().to_string().replace("\"product_id\"", "\"household_id\"");
    assert_eq!(field(&twice), "household_id", "given twice");
}

#[test]
fn a_time_is_rfc_3339_alone() {
    for time in ["1700000000000", "yesterday", ""] {
        let error = read(CloudEventsMode::Structured, &with("time", json!(time))).unwrap_err();
        assert_eq!(error.to_string(), "time: expected RFC 3339, such as 2026-11-21T12:00:00Z", "{time}");
    }
}

#[test]
fn base64_holds_json_in_utf8() {
    let mut event = envelope();
    event["data"] = Value::Null;
    for (encoded, good) in [
        (STANDARD.encode(r#"{"household_id":1}"#), true),
        (STANDARD.encode(r#"{"household_id":1"#), false),
        (STANDARD.encode(r#"["household_id"]"#), false),
        (STANDARD.encode([0xff]), false),
        ("*".to_owned(), false),
    ] {
        event["data_base64"] = encoded.into();
        let field = read(CloudEventsMode::Structured, &event.to_string()).map_err(|error| error.field).map(|_| ());
        assert_eq!(field, if good { Ok(()) } else { Err("data_base64".into()) }, "{event}");
    }
}

#[test]
fn json_is_recognized_by_the_subtype() {
    for json in ["application/json", "text/json; charset=x", "application/vnd.till.v1+JSON ;q=1", "a/b+json"] {
        assert!(is_json(json), "{json}");
    }
    for other in ["", "json", "text/plain", "application/jsonl", "application/json-seq", "application/avro"] {
        assert!(!is_json(other), "{other}");
    }
}

#[test]
fn headers_are_unquoted_and_percent_decoded_once() {
    for (header, text) in [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("100%2525", "100%25"),
        ("50%off%", "50%off%"),
        ("a b%20c", "a b c"),
        (r#""a \"b\" \\ %22c%22""#, r#"a "b" \ "c""#),
        ("\"%22\"", "\""),
        ("\"", "\""),
        ("\"\"", ""),
        ("a\"b\\\"", "a\"b\\\""),
        ("+", "+"),
        ("gr\u{fc}n", "gr\u{fc}n"),
    ] {
        assert_eq!(decoded(header.as_bytes()).as_deref(), Some(text), "{header}");
    }
    for not_utf8 in [&b"%C0%A0"[..], b"%ff", b"gr\xfcn", b"%ED%A0%80"] {
        assert_eq!(decoded(not_utf8), None, "{not_utf8:?}");
    }
}

#[test]
fn a_bad_header_is_named_and_an_unused_one_is_ignored() {
    let change = |name: &str, value: &str| {
        let changed = ATTRIBUTES.map(|(header, old)| (header, if header == name { value } else { old }));
        read(CloudEventsMode::Binary(&headers(&changed)), r#"{"household_id":1}"#).map_err(|error| error.field)
    };
    for (header, value, field) in [
        ("ce-id", "%C0%A0", "id"),
        ("ce-source", "", "source"),
        ("ce-type", "\"\"", "type"),
        ("ce-specversion", "0.3", "specversion"),
        ("CE-Time", "yesterday", "time"),
        ("content-type", "text/plain", "datacontenttype"),
    ] {
        assert_eq!(change(header, value), Err(field.into()), "{header}: {value}");
    }
    assert!(change("ce-subject", "%C0").is_ok());
    let twice = ATTRIBUTES.into_iter().chain([("ce-id", "e2")]).collect::<Vec<_>>();
    assert_eq!(read(CloudEventsMode::Binary(&headers(&twice)), "{}").unwrap_err().field, "id");
    let none = ATTRIBUTES.into_iter().filter(|(name, _)| *name != "content-type").collect::<Vec<_>>();
    assert!(read(CloudEventsMode::Binary(&headers(&none)), r#"{"household_id":1}"#).is_ok(), "absent means JSON");
}

#[test]
fn the_mode_follows_the_content_type_then_the_headers() {
    let binary = headers(&ATTRIBUTES);
    let mode = |content_type: &str, headers: &HeaderMap| {
        CloudEventsMode::of(content_type, headers)
            .map(|mode| mode.map(|mode| (matches!(mode, CloudEventsMode::Binary(_)), mode.body_form())))
    };
    let none = HeaderMap::new();
    assert_eq!(mode("Application/CloudEvents+JSON; charset=UTF-8", &binary).unwrap(), Some((false, BodyForm::One)));
    assert_eq!(mode("application/cloudevents-batch+json", &none).unwrap(), Some((false, BodyForm::Array)));
    assert_eq!(mode("application/x-ndjson", &binary).unwrap(), Some((true, BodyForm::One)));
    assert_eq!(mode("application/json", &none).unwrap(), None);
    for unknown in ["application/cloudevents", "application/cloudevents+avro", "application/cloudevents-batch+xml"] {
        assert!(matches!(mode(unknown, &binary), Err(RequestError::Unparsable(_))), "{unknown}");
    }
}
