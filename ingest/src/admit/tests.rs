//! Bodies checked against the definitions, without a log: one pass over an array finds the same as a pass per event.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use millrace_core::definitions::DefinitionsSource;

use super::*;

const YAML: &str = "entities: { user: { key: user_id, type: int64 } }
events: { click: { partition_by: user } }
views: [{ name: v, entity: user, from: [click], features: [{ name: x, agg: last, value: properties.x, type: int64 }] }]";

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
    Definitions::compile(DefinitionsSource { yaml: YAML.to_owned(), schemas: BTreeMap::new() }).unwrap()
});

const GOOD: &str = r#"{"type":"click","user_id":1,"properties":{"x":1}}"#;

/// Ids are made of the key and the index, so that two checks of one body can be compared.
fn context() -> RequestContext<'static> {
    RequestContext {
        idempotency_key: Some("k".into()),
        traceparent: Some("00-1-2-3".into()),
        ..RequestContext::default()
    }
}

fn checked(body: &str, declared: Option<BodyForm>) -> Result<(BodyForm, CheckedEvents), RequestError> {
    check(&DEFINITIONS, &context(), body, declared)
}

fn one_pass(body: &str) -> Option<CheckedEvents> {
    Checker { definitions: &DEFINITIONS, context: &context() }.array_in_one_pass(body)
}

fn pass_per_event(body: &str) -> CheckedEvents {
    Checker { definitions: &DEFINITIONS, context: &context() }.each(&split::array(body).unwrap())
}

#[test]
fn one_pass_over_an_array_finds_the_same_events_as_a_pass_per_event() {
    let large = format!(r#"{{"type":"click","user_id":2,"properties":{{"t":"{}"}}}}"#, "x".repeat(MAX_EVENT_BYTES));
    for events in [
        vec![GOOD],
        vec![GOOD, r#"{"type":"click","user_id":"x"}"#, r#" {"user_id":3} "#, "\n{}\t", GOOD],
        vec![r#"{"type":"click","id":"e1","user_id":1,"properties":{"x":"]},{[","y":[1,{"z":"\\"}]}}"#, GOOD],
        vec![r#"{"type":"click","user_id":1,"traceparent":"own"}"#],
        vec![&large, GOOD],
    ] {
        let body = format!(" [{}]\n", events.join(","));
        let (found, expected) = (one_pass(&body).unwrap(), pass_per_event(&body));
        assert_eq!((found.valid, found.rejected), (expected.valid, expected.rejected));
    }
}

#[test]
fn an_array_that_the_fast_path_does_not_understand_takes_a_pass_per_event() {
    let twice = r#"{"type":"click","user_id":1,"user_id":1}"#;
    for odd in [twice, "1", "null", "[]", r#"{"type":"click","user_id":1,"properties":{"a.b":1}}"#] {
        let body = format!("[{GOOD},{odd}]");
        assert!(one_pass(&body).is_none(), "{odd}");
        let (_, checked) = checked(&body, None).unwrap();
        assert_eq!((checked.valid.len(), checked.rejected.len()), (1, 1), "{odd}");
    }
    assert!(one_pass("[]").is_none());
    assert!(checked("[]", None).is_ok());
}

#[test]
fn an_array_that_is_not_json_is_refused_whole() {
    for end in ["", ",", ",]", "]]", "] x", "}", " {}]", ",{\"a\"}]", "\u{a0}]"] {
        let body = format!("[{GOOD}{end}");
        assert!(one_pass(&body).is_none(), "{body}");
        let error = checked(&body, None).unwrap_err();
        assert!(
            matches!(&error, RequestError::Unparsable(said) if said.contains("not a JSON array")),
            "{body}: {error}"
        );
    }
}

#[test]
fn an_array_has_at_most_50_000_events() {
    let body = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(one_pass(&body(MAX_EVENTS)).unwrap().rejected.len(), MAX_EVENTS);
    assert!(matches!(checked(&body(MAX_EVENTS + 1), None), Err(RequestError::TooLarge(_))));
}

#[test]
fn one_event_that_is_not_json_is_a_bad_request_and_another_bad_one_is_rejected() {
    for (declared, advised) in [(None, true), (Some(BodyForm::One), false)] {
        for bad in ["{", "{} {}", "nul", r#"{"type":"click","user_id":1}}"#] {
            let error = checked(bad, declared).unwrap_err();
            let RequestError::Unparsable(said) = &error else { panic!("{bad}: {error}") };
            assert!(said.starts_with("the body is not valid JSON"), "{said}");
            assert_eq!(said.contains("x-ndjson"), advised, "{said}");
        }
        for bad in ["{}", "1", r#"{"type":"click","user_id":1,"user_id":1}"#] {
            assert_eq!(checked(bad, declared).unwrap().1.rejected.len(), 1, "{bad}");
        }
        assert_eq!(checked(GOOD, declared).unwrap().1.valid.len(), 1);
    }
}

#[test]
fn one_event_that_is_too_large_is_a_request_that_is_too_large() {
    let event = |bytes: usize| format!(r#"{{"type":"{}"}}"#, "x".repeat(bytes - r#"{"type":""}"#.len()));
    for declared in [None, Some(BodyForm::One)] {
        assert!(checked(&event(MAX_EVENT_BYTES), declared).is_ok());
        assert!(matches!(checked(&event(MAX_EVENT_BYTES + 1), declared), Err(RequestError::TooLarge(_))));
    }
    let array = format!("[{},{GOOD}]", event(MAX_EVENT_BYTES + 1));
    let (_, checked) = checked(&array, None).unwrap();
    assert_eq!(checked.valid[0].0, 1, "its neighbours are accepted");
    assert!(checked.rejected[0].1.reason.contains("must not be larger"));
}

#[test]
fn lines_are_judged_alone() {
    let body = format!("{GOOD}\n\n{{\"b\"\n{NOT_UTF8}\n{GOOD}\n");
    let (form, checked) = checked(&body, Some(BodyForm::Lines)).unwrap();
    let indexes = |events: &[usize]| events.to_vec();
    assert_eq!(form, BodyForm::Lines);
    assert_eq!(checked.valid.iter().map(|(index, _)| *index).collect::<Vec<_>>(), indexes(&[0, 3]));
    assert_eq!(checked.rejected.iter().map(|(index, _)| *index).collect::<Vec<_>>(), indexes(&[1, 2]));
    assert_eq!(checked.rejected[1].1.reason, "the line is not UTF-8");
}
