//! Answers as JSON, written straight from the repository's rows.

use chrono::{DateTime, SecondsFormat, Utc};
use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Entity, Store};
use millrace_core::key::{KeyText, KeyType};
use millrace_core::scalar::int_json;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::catalog::store_name;
use crate::repository::{Answer, EntityRow, Plan};

/// `{"entity","results":[{"key","status","values","metadata"?}],"as_of"}`.
pub(super) struct Results<'a> {
    pub(super) plan: &'a Plan,
    pub(super) keys: &'a [KeyText],
    pub(super) answer: &'a Answer,
    pub(super) metadata: bool,
}

struct Rows<'a>(&'a Results<'a>);
struct Row<'a>(&'a Results<'a>, &'a KeyText, &'a EntityRow);
struct Metadata<'a>(&'a Plan, &'a EntityRow);
struct About<'a>(&'a Plan, usize, &'a FeatureValue);

/// Names and values of a row.
pub(super) struct Values<'a>(pub(super) &'a [String], pub(super) &'a EntityRow);

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("entity", &self.plan.definitions.entities[self.plan.entity].name)?;
        map.serialize_entry("results", &Rows(self))?;
        map.serialize_entry("as_of", &rfc3339(self.answer.as_of))?;
        map.end()
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Results { keys, answer, .. } = self.0;
        let mut rows = serializer.serialize_seq(Some(keys.len()))?;
        for (key, row) in keys.iter().zip(&answer.rows) {
            rows.serialize_element(&Row(self.0, key, row))?;
        }
        rows.end()
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(results, key, row) = self;
        let entity = &results.plan.definitions.entities[results.plan.entity];
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &key_json(entity, key))?;
        map.serialize_entry("status", row.status().as_str())?;
        map.serialize_entry("values", &Values(&results.plan.names, row))?;
        if results.metadata {
            map.serialize_entry("metadata", &Metadata(results.plan, row))?;
        }
        map.end()
    }
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1.values.iter().map(|value| &value.value)))
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(plan, row) = self;
        let about = row.values.iter().enumerate().map(|(place, value)| About(plan, place, value));
        serializer.collect_map(plan.names.iter().zip(about))
    }
}

impl Serialize for About<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(plan, place, value) = self;
        let view = &plan.definitions.views[plan.features[*place].0];
        let source: Store = view.store;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", value.status.as_str())?;
        map.serialize_entry("event_time", &value.event_time.map(rfc3339))?;
        map.serialize_entry("source", store_name(source))?;
        map.serialize_entry("view", &view.name)?;
        map.serialize_entry("version", &view.version)?;
        if let Some(reason) = &value.reason {
            map.serialize_entry("reason", reason)?;
        }
        map.end()
    }
}

/// A key as readers know it: an integer as a number, a text as itself, a composite as its canonical text.
pub(super) fn key_json(entity: &Entity, key: &KeyText) -> Json {
    match entity.key.as_slice() {
        [(_, kind)] => part_json(*kind, key.parts().into_iter().next().unwrap_or_default()),
        _ => Json::String(key.to_string()),
    }
}

/// One part of a key.
pub(super) fn part_json(kind: KeyType, text: String) -> Json {
    match kind {
        KeyType::Int64 => text.parse().map_or(Json::String(text), |int: i64| int_json(i128::from(int))),
        KeyType::String => Json::String(text),
    }
}

/// An instant as text, to the millisecond.
pub(super) fn rfc3339(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |instant| instant.to_rfc3339_opts(SecondsFormat::Millis, true))
}
