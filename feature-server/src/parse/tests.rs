//! Tests of entities, keys and selections.

use super::entity::entity;
use super::key::json_key;
use super::*;
use crate::error::RequestError;
use millrace_core::definitions::{Definitions, DefinitionsSource};
use serde_json::json;

const YAML: &str = r#"
entities:
  pair: { key: [left, right], type: [string, int64] }
  user: { key: user_id, type: string }
events:
  click: { partition_by: user, entities: [user, pair] }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: n, agg: count }] }
  - { name: rate, entity: user, store: clickhouse, from: [click], features: [{ name: n, agg: count }] }
  - { name: pairs, entity: pair, from: [click], features: [{ name: n, agg: count }] }
services:
  fraud: { v1: ["clicks:n"], v2: ["clicks:n", "rate:n"] }
"#;

fn definitions() -> Definitions {
    Definitions::compile(DefinitionsSource { yaml: YAML.into(), schemas: Default::default() }).unwrap()
}

fn field() -> String {
    "keys[0]".to_owned()
}

fn message(error: RequestError) -> String {
    error.to_string()
}

#[test]
fn a_url_key_is_decoded_once_and_a_json_key_is_literal() {
    let definitions = definitions();
    let user = entity(&definitions, "user").unwrap().1;
    let of_url = |path: &str| entity_and_key(&definitions, &path.parse().unwrap());
    let (index, entity, key) = of_url("/v1/features/user/50%25%2Foff").unwrap();
    assert_eq!((index, entity, key.as_str()), (1, user, "50%25%2Foff"));
    assert_eq!(json_key(user, field, &json!("50%/off")).unwrap().as_str(), "50%25%2Foff");
    assert!(message(of_url("/v1/features/user/50%").unwrap_err()).contains("not a key of user (user_id)"));
}

#[test]
fn a_composite_key_is_a_list_or_its_canonical_text() {
    let definitions = definitions();
    let pair = entity(&definitions, "pair").unwrap().1;
    assert_eq!(json_key(pair, field, &json!(["a,b", 7])).unwrap().as_str(), "a%2Cb,7");
    assert_eq!(json_key(pair, field, &json!("a%2Cb,7")).unwrap().as_str(), "a%2Cb,7");
    let (_, _, key) = entity_and_key(&definitions, &"/v1/features/pair/a%2Cb,007".parse().unwrap()).unwrap();
    assert_eq!(key.as_str(), "a%2Cb,7");
    assert!(message(json_key(pair, field, &json!(["a"])).unwrap_err()).contains("expected 2 parts"));
    assert!(json_key(pair, field, &json!(7)).is_err());
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let definitions = definitions();
    let of = |selection: Selection<'_>| message(selection.resolve(&definitions, 1, 10).unwrap_err());
    assert_eq!(message(entity(&definitions, "usr").unwrap_err()), "no entity `usr`; there is pair, user");
    assert_eq!(of(Selection::Service("fraud@3")), "no service `fraud@3`; there is fraud@1, fraud@2");
    assert_eq!(of(Selection::Features("clicks:m")), "no feature `m` in view `clicks`; there is n");
    assert_eq!(of(Selection::Features("click:n")), "no view `click` of user; there is clicks@1, rate@1");
    assert_eq!(of(Selection::Features("clicks@2:n")), "no view `clicks@2` of user; there is clicks@1, rate@1");
    assert!(of(Selection::Features("n")).contains("write `view:feature`"));
}

#[test]
fn features_of_another_entity_are_refused() {
    let definitions = definitions();
    let error = Selection::Features("clicks:n,pairs:n").resolve(&definitions, 1, 10).unwrap_err();
    assert_eq!(message(error), "feature `pairs:n` describes pair, not user");
    let error = Selection::Service("fraud").resolve(&definitions, 0, 10).unwrap_err();
    assert_eq!(message(error), "service `fraud` describes user, not pair");
}

#[test]
fn on_demand_features_come_only_when_they_are_named() {
    let definitions = definitions();
    assert_eq!(Selection::Streamed.resolve(&definitions, 1, 10).unwrap(), [(0, 0)]);
    assert_eq!(Selection::StreamedAnd("rate:n").resolve(&definitions, 1, 10).unwrap(), [(0, 0), (1, 0)]);
}
