//! Reads what requests say: entities, keys, lists of features, instants. Whatever is wrong is named precisely, with
//! what would be right.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::http::Uri;
use millrace_core::definitions::{Definitions, Entity, Store};
use millrace_core::key::{InvalidKey, KeyText};
use serde_json::Value as Json;

use crate::error::RequestError;
use crate::repository::Plan;
use crate::state::{Serving, Shared};

/// The longest text that a plan is kept under: a list of a thousand features.
const LONGEST_KEPT: usize = 64 * 1024;

/// The instants that RFC 3339 can say, epoch ms: those of years of four digits.
const INSTANTS: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Which features a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection<'a> {
    /// All of a service's version: `fraud@2`.
    Service(&'a str),
    /// These: `a:b,c:d`.
    Features(&'a str),
    /// All that are streamed into Redis and MongoDB.
    Streamed,
    /// The streamed ones, and these.
    StreamedAnd(&'a str),
}

impl<'a> Selection<'a> {
    /// At most one of the two.
    pub(crate) fn of(service: Option<&'a str>, features: Option<&'a str>) -> Result<Self, RequestError> {
        not_both(service.is_some(), features.is_some())?;
        Ok(match (service, features) {
            (Some(service), _) => Self::Service(service),
            (None, Some(features)) => Self::Features(features),
            (None, None) => Self::Streamed,
        })
    }

    /// What it says about an entity; the name of its plan.
    fn cache_key(&self, entity: usize) -> String {
        match self {
            Self::Service(service) => format!("{entity} s {service}"),
            Self::Features(features) => format!("{entity} f {features}"),
            Self::Streamed => format!("{entity} a"),
            Self::StreamedAnd(features) => format!("{entity} a {features}"),
        }
    }
}

/// Refuses a request that names its features twice, before what either says is looked at.
pub(crate) fn not_both(service: bool, features: bool) -> Result<(), RequestError> {
    if service && features {
        return Err(RequestError::invalid("service", "name `service` or `features`, not both"));
    }
    Ok(())
}

/// The entity and the key at the end of a path. The key is taken undecoded: what its percent signs mean is its to say.
pub(crate) fn entity_and_key<'d>(
    definitions: &'d Definitions,
    uri: &Uri,
) -> Result<(usize, &'d Entity, KeyText), RequestError> {
    let mut segments = uri.path().rsplit('/');
    let raw = segments.next().unwrap_or_default();
    let (index, entity) = entity(definitions, segments.next().unwrap_or_default())?;
    let key = entity.parse_key(raw).map_err(|error| bad_key(entity, "key", &error))?;
    Ok((index, entity, key))
}

/// The entity of that name.
pub(crate) fn entity<'d>(definitions: &'d Definitions, name: &str) -> Result<(usize, &'d Entity), RequestError> {
    definitions.entity(name).ok_or_else(|| {
        let known = list(definitions.entities.iter().map(|entity| entity.name.as_str()));
        RequestError::unknown("entity", format!("no entity `{name}`; there is {known}"))
    })
}

/// A key as it stands in a JSON body: a number or a text, literally; a composite as the list of its parts, or as its
/// canonical text.
fn json_key(entity: &Entity, field: impl Fn() -> String, value: &Json) -> Result<KeyText, RequestError> {
    let key = match (entity.key.as_slice(), value) {
        ([(_, kind)], value) => KeyText::from_parts(&[(*kind, value)]),
        (parts, Json::Array(values)) if parts.len() == values.len() => {
            let parts: Vec<_> = parts.iter().map(|(_, kind)| *kind).zip(values).collect();
            KeyText::from_parts(&parts)
        }
        (parts, Json::Array(values)) => Err(InvalidKey::WrongParts { expected: parts.len(), got: values.len() }),
        (_, Json::String(text)) => entity.parse_key(text),
        _ => return Err(RequestError::invalid(field(), "expected the list of the key's parts")),
    };
    key.map_err(|error| bad_key(entity, &field(), &error))
}

fn bad_key(entity: &Entity, field: &str, error: &InvalidKey) -> RequestError {
    let parts = list(entity.key.iter().map(|(name, _)| name.as_str()));
    RequestError::invalid(field, format!("not a key of {} ({parts}): {error}", entity.name))
}

/// A list of keys, within the limit.
pub(crate) fn json_keys(
    shared: &Shared,
    entity: &Entity,
    field: &str,
    values: &[Json],
) -> Result<Vec<KeyText>, RequestError> {
    let (got, most) = (values.len(), shared.limits.max_keys);
    if got > most {
        return Err(too_many_keys(field, got, most));
    }
    let key = |(index, value)| json_key(entity, || format!("{field}[{index}]"), value);
    values.iter().enumerate().map(key).collect()
}

/// The same of texts: an integer in decimal, a text literally, a composite's canonical text.
pub(crate) fn text_keys(
    entity: &Entity,
    field: &str,
    texts: Vec<String>,
    most: usize,
) -> Result<Vec<KeyText>, RequestError> {
    if texts.is_empty() {
        return Err(RequestError::invalid(field, "expected at least one key"));
    }
    if texts.len() > most {
        return Err(too_many_keys(field, texts.len(), most));
    }
    let key = |(index, text)| json_key(entity, || format!("{field}[{index}]"), &Json::String(text));
    texts.into_iter().enumerate().map(key).collect()
}

/// One such text.
pub(crate) fn text_key(entity: &Entity, field: &str, text: String) -> Result<KeyText, RequestError> {
    json_key(entity, || field.to_owned(), &Json::String(text))
}

fn too_many_keys(field: &str, got: usize, most: usize) -> RequestError {
    RequestError::invalid(field, format!("{got} keys in one request; the most is {most}"))
}

/// The plan of a selection, compiled when it is first asked for.
pub(crate) fn plan(
    shared: &Shared,
    serving: &Serving,
    entity: usize,
    selection: Selection<'_>,
) -> Result<Arc<Plan>, RequestError> {
    let text = selection.cache_key(entity);
    if let Some(plan) = serving.plans.get(&text) {
        return Ok(plan);
    }
    let features = resolve(shared.limits.max_features, &serving.definitions, entity, selection)?;
    Ok(compile(serving, text, entity, &features))
}

fn compile(serving: &Serving, text: String, entity: usize, features: &[(usize, usize)]) -> Arc<Plan> {
    let plan = Plan::new(serving.definitions.clone(), &serving.names, serving.partitions, entity, features);
    let plan = Arc::new(plan);
    // What is kept is bounded in number, so each must be bounded in length.
    if text.len() <= LONGEST_KEPT {
        serving.plans.insert(text, plan.clone());
    }
    plan
}

fn resolve(
    most: usize,
    definitions: &Definitions,
    entity: usize,
    selection: Selection<'_>,
) -> Result<Vec<(usize, usize)>, RequestError> {
    match selection {
        Selection::Service(reference) => service(definitions, entity, reference),
        Selection::Features(references) => features(most, definitions, entity, references),
        Selection::Streamed => Ok(streamed(definitions, entity)),
        Selection::StreamedAnd(references) => {
            let mut all = streamed(definitions, entity);
            all.extend(features(most, definitions, entity, references)?);
            Ok(all)
        }
    }
}

fn streamed(definitions: &Definitions, entity: usize) -> Vec<(usize, usize)> {
    let views = definitions.views.iter().enumerate();
    let views = views.filter(|(_, view)| view.entity == entity && view.store != Store::ClickHouse);
    views.flat_map(|(index, view)| (0..view.features.len()).map(move |feature| (index, feature))).collect()
}

fn service(definitions: &Definitions, entity: usize, reference: &str) -> Result<Vec<(usize, usize)>, RequestError> {
    let Some(service) = definitions.service(reference) else {
        let versions = definitions
            .services
            .iter()
            .flat_map(|service| service.versions.keys().map(|version| format!("{}@{version}", service.name)));
        let known = list(versions);
        return Err(RequestError::unknown("service", format!("no service `{reference}`; there is {known}")));
    };
    if service.entity != entity {
        let (theirs, ours) = (&definitions.entities[service.entity].name, &definitions.entities[entity].name);
        let error = format!("service `{reference}` describes {theirs}, not {ours}");
        return Err(RequestError::invalid("service", error));
    }
    Ok(service.features.clone())
}

fn features(
    most: usize,
    definitions: &Definitions,
    entity: usize,
    references: &str,
) -> Result<Vec<(usize, usize)>, RequestError> {
    let mut found = Vec::new();
    for reference in references.split(',').map(str::trim) {
        let (view, feature) = definitions
            .feature(reference)
            .ok_or_else(|| unknown_feature(definitions, Some(entity), "features", reference))?;
        let theirs = definitions.views[view].entity;
        if theirs != entity {
            let (theirs, ours) = (&definitions.entities[theirs].name, &definitions.entities[entity].name);
            let error = format!("feature `{reference}` describes {theirs}, not {ours}");
            return Err(RequestError::invalid("features", error));
        }
        found.push((view, feature));
        if found.len() > most {
            return Err(too_many_features("features", most));
        }
    }
    Ok(found)
}

pub(crate) fn too_many_features(field: &str, most: usize) -> RequestError {
    RequestError::invalid(field, format!("more than {most} features in one request"))
}

/// Which part of a reference names nothing, and what it could name; of one entity, or of any.
pub(crate) fn unknown_feature(
    definitions: &Definitions,
    entity: Option<usize>,
    field: &str,
    reference: &str,
) -> RequestError {
    let unknown = |error: String| RequestError::unknown(field, error);
    let Some((view, feature)) = reference.split_once(':') else {
        return unknown(format!("`{reference}` is no feature; write `view:feature` or `view@2:feature`"));
    };
    let (name, version) = match view.split_once('@') {
        None => (view, Some(1)),
        Some((name, version)) => (name, version.parse().ok()),
    };
    match version.and_then(|version| definitions.view(name, Some(version))) {
        Some((_, declared)) => {
            let known = list(declared.features.iter().map(|feature| feature.name.as_str()));
            unknown(format!("no feature `{feature}` in view `{view}`; there is {known}"))
        }
        None => {
            let views = definitions.views.iter().filter(|view| entity.is_none_or(|entity| view.entity == entity));
            let known = list(views.map(|view| view.id()));
            let of = entity.map_or_else(String::new, |entity| format!(" of {}", definitions.entities[entity].name));
            unknown(format!("no view `{view}`{of}; there is {known}"))
        }
    }
}

/// A list of features as one text, as a query string has it.
pub(crate) fn joined(names: &[String]) -> Result<String, RequestError> {
    if names.is_empty() {
        return Err(RequestError::invalid("features", "expected at least one feature; leave it out for all"));
    }
    match names.iter().find(|name| name.contains(',')) {
        Some(name) => Err(RequestError::unknown("features", format!("`{name}` is no feature; name one an item"))),
        None => Ok(names.join(",")),
    }
}

/// An instant: RFC 3339 or epoch milliseconds, of what RFC 3339 can say, so that the answer can say it too.
pub(crate) fn instant(text: &str) -> Result<i64, RequestError> {
    // In a query string a `+` stands for a space.
    let text = text.replace(' ', "+");
    match millrace_core::instant::parse(&text) {
        Some(ms) if INSTANTS.contains(&ms) => Ok(ms),
        Some(_) => Err(RequestError::invalid("as_of", "expected an instant of the years 0000 to 9999")),
        None => Err(RequestError::invalid("as_of", "expected RFC 3339 or epoch milliseconds")),
    }
}

/// The same in a body, where milliseconds are a number.
pub(crate) fn json_instant(value: &Json) -> Result<i64, RequestError> {
    match value {
        Json::Number(number) => instant(&number.to_string()),
        Json::String(text) => instant(text),
        _ => Err(RequestError::invalid("as_of", "expected RFC 3339 or epoch milliseconds")),
    }
}

/// Names for people.
pub(crate) fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::DefinitionsSource;
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
    fn unknown_names_say_what_there_is() {
        let definitions = definitions();
        let of = |selection| message(resolve(10, &definitions, 1, selection).unwrap_err());
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
        let error = resolve(10, &definitions, 1, Selection::Features("clicks:n,pairs:n")).unwrap_err();
        assert_eq!(message(error), "feature `pairs:n` describes pair, not user");
        let error = resolve(10, &definitions, 0, Selection::Service("fraud")).unwrap_err();
        assert_eq!(message(error), "service `fraud` describes user, not pair");
    }

    #[test]
    fn on_demand_features_come_only_when_they_are_named() {
        let definitions = definitions();
        assert_eq!(resolve(10, &definitions, 1, Selection::Streamed).unwrap(), [(0, 0)]);
        assert_eq!(resolve(10, &definitions, 1, Selection::StreamedAnd("rate:n")).unwrap(), [(0, 0), (1, 0)]);
    }

    #[test]
    fn instants_are_rfc_3339_or_milliseconds() {
        assert_eq!(instant("1700000000000").unwrap(), 1_700_000_000_000);
        assert_eq!(instant("2023-11-14T22:13:20Z").unwrap(), 1_700_000_000_000);
        assert_eq!(instant("2023-11-14T23:13:20 01:00").unwrap(), 1_700_000_000_000);
        assert!(instant("yesterday").is_err());
        for bound in [INSTANTS.start(), INSTANTS.end()] {
            assert_eq!(instant(&bound.to_string()).unwrap(), *bound);
            assert_eq!(instant(&crate::http::rfc3339(*bound)).unwrap(), *bound);
        }
        for beyond in ["253402300800000", "-62167219200001", "99999999999999999", "0000-01-01T00:00:00+23:59"] {
            assert!(message(instant(beyond).unwrap_err()).contains("years 0000 to 9999"), "{beyond}");
        }
    }
}
