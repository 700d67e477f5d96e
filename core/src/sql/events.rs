//! The tables that hold events and what `apply` adds to them: typed key columns, and for each event type a view with
//! typed property columns.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::definitions::{Definitions, EventType, ValueType};
use crate::key::KeyType;

use super::{SETTINGS, inputs, quote_name, quote_text};

/// Millrace's own tables and views. No event type can have one of these names, because each gets a view of its name.
pub const TABLES: [&str; 6] =
    ["events", "events_daily", "events_daily_counts", "dead_letters", "definitions", "schema_migrations"];

/// The columns of `events` that every row has, in the order in which they are sent; no key field can be called so.
pub const COLUMNS: [&str; 13] = [
    "type",
    "source",
    "event_id",
    "partition_key",
    "event_time",
    "feature_time",
    "stream_time",
    "partition",
    "stream_ms",
    "stream_seq",
    "id_given",
    "traceparent",
    "properties",
];

/// The column of one part of an entity's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Index of the entity.
    pub entity: usize,
    /// Which part of its key.
    pub part: usize,
    /// The field, which is the column's name.
    pub name: String,
    /// Its type.
    pub kind: KeyType,
}

/// The key columns of all entities, in the order in which they are sent.
pub fn key_columns(definitions: &Definitions) -> Vec<KeyColumn> {
    let mut columns = Vec::new();
    for (entity, declared) in definitions.entities.iter().enumerate() {
        for (part, (name, kind)) in declared.key.iter().enumerate() {
            columns.push(KeyColumn { entity, part, name: name.clone(), kind: *kind });
        }
    }
    columns
}

/// The statements that bring the tables up to these definitions; doing them again changes nothing.
pub fn apply(definitions: &Definitions) -> Vec<String> {
    let columns = key_columns(definitions);
    let mut statements: Vec<String> = columns.iter().flat_map(add_key_column).collect();
    statements.extend(definitions.events.iter().map(|event| event_view(definitions, event)));
    statements
}

fn add_key_column(column: &KeyColumn) -> [String; 2] {
    let name = quote_name(&column.name);
    let kind = match column.kind {
        KeyType::Int64 => "Nullable(Int64)",
        KeyType::String => "Nullable(String)",
    };
    // Rows lie by the partitioning key; reads by another entity's key skip what cannot hold it.
    let index = quote_name(&format!("by_{}", column.name));
    [
        format!("ALTER TABLE events ADD COLUMN IF NOT EXISTS {name} {kind}"),
        format!("ALTER TABLE events ADD INDEX IF NOT EXISTS {index} {name} TYPE bloom_filter GRANULARITY 1"),
    ]
}

/// One row per event of the type: keys and properties as typed columns, no row twice.
fn event_view(definitions: &Definitions, event: &EventType) -> String {
    let keys = key_columns(definitions).into_iter().filter(|column| event.entities.contains(&column.entity));
    let mut columns: Vec<String> = keys.map(|column| quote_name(&column.name)).collect();
    let before_properties = COLUMNS.iter().filter(|name| !["type", "properties"].contains(name));
    columns.extend(before_properties.map(|name| quote_name(name)));
    let mut taken: BTreeSet<String> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    taken.extend(key_columns(definitions).into_iter().map(|column| column.name));
    for (segments, kind) in property_columns(definitions, event) {
        let name = segments.join(".");
        // A property that is called like a column is told apart by where it comes from.
        let name = if taken.contains(&name) { format!("properties.{name}") } else { name };
        if taken.insert(name.clone()) {
            let value = inputs::property(&segments, &kind.unwrap_or(ValueType::Any));
            columns.push(format!("{value} AS {}", quote_name(&name)));
        }
    }
    columns.push("properties".to_owned());
    format!(
        "CREATE OR REPLACE VIEW {} AS SELECT {} FROM events FINAL WHERE `type` = {} SETTINGS {SETTINGS}",
        quote_name(&event.name),
        columns.join(", "),
        quote_text(&event.name),
    )
}

/// The properties with a known type: what views read, then the schema's top level.
fn property_columns(definitions: &Definitions, event: &EventType) -> Vec<(Vec<String>, Option<ValueType>)> {
    let mut columns: Vec<(Vec<String>, Option<ValueType>)> = Vec::new();
    for (index, path) in event.paths.iter().enumerate() {
        let read = event.reads.iter().find(|(read, _)| *read == index).map(|(_, kind)| kind.clone());
        let kind = path.decimal.map(ValueType::Decimal).or(read);
        columns.push((path.segments.clone(), kind));
    }
    let schema = definitions.source.schema_of(&event.name);
    let declared = schema.and_then(|schema| schema.get("properties")).and_then(Json::as_object);
    for (name, property) in declared.into_iter().flatten() {
        let segments = vec![name.clone()];
        match columns.iter_mut().find(|(known, _)| *known == segments) {
            // A view that only counts the property gives it no type.
            Some((_, kind)) => *kind = kind.take().or_else(|| schema_type(property)),
            None => columns.push((segments, schema_type(property))),
        }
    }
    columns
}

/// The type that a JSON Schema gives a property, where it names one.
fn schema_type(property: &Json) -> Option<ValueType> {
    let name = match property.get("type")? {
        Json::String(name) => name.as_str(),
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null")?,
        _ => return None,
    };
    match name {
        "integer" => Some(ValueType::Int64),
        "number" => Some(ValueType::Float64),
        "boolean" => Some(ValueType::Bool),
        "array" => Some(ValueType::List(Box::new(ValueType::String))),
        "object" => Some(ValueType::Map(Box::new(ValueType::String))),
        _ => Some(ValueType::String),
    }
}
