//! An event from the outside until it is known to be good: `RawEvent ─validate→ Event`, or `Rejected`. What a valid
//! event becomes in the log is `entry`'s.

mod swift;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::definitions::{Definitions, EventType, ValueType};
use crate::json;
use crate::key::{KeyText, KeyType, kind_of};
use crate::partition::{Partition, partition_of};
use crate::scalar::Scalar;

pub use swift::EventReader;

/// How far ahead of the clock an event may be dated, in ms.
pub const MAX_FUTURE_MS: i64 = 5 * 60 * 1_000;
/// The largest event, in bytes of its JSON.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// The longest event id, source and trace parent, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// 1900-01-01 and 2299-12-31T23:59:59.999, what a ClickHouse `DateTime64(3)` holds.
const TIME_RANGE: std::ops::RangeInclusive<i64> = -2_208_988_800_000..=10_413_791_999_999;

/// One event as it came: taken apart, not yet believed.
#[derive(Clone, Debug, Default)]
pub struct RawEvent {
    /// `type`.
    pub event_type: Option<Value>,
    /// `id`.
    pub id: Option<Value>,
    /// `source`.
    pub source: Option<Value>,
    /// `time`.
    pub time: Option<Value>,
    /// `traceparent` (W3C trace context).
    pub traceparent: Option<Value>,
    /// `properties`, unparsed.
    pub properties: Option<Box<RawValue>>,
    /// Everything else at the top: entity key fields, and in the flat form properties too.
    pub fields: Vec<(String, Box<RawValue>)>,
    /// Whether the fields that are no keys are properties.
    pub flat: bool,
}

/// An event that may enter the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Name of its type.
    pub event_type: String,
    /// Who says so; part of its identity.
    pub source: String,
    /// Its id.
    pub id: EventId,
    /// When it happened, epoch ms; none: when it arrived, which the log knows.
    pub time: Option<i64>,
    /// (entity, canonical key) for each entity that it names, the partitioning one first.
    pub keys: Vec<(String, KeyText)>,
    /// The properties as canonical JSON: no nulls, keys sorted, declared decimals as strings.
    pub properties: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// An event's id, and whether a resend can be known by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventId {
    /// Given by the sender: the same id from the same source is the same event.
    Given(String),
    /// Made at ingest: unique, so no duplicate can be known.
    Made(String),
}

/// An event that may not enter the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Rejected {
    /// The field at fault, as a path from the event's root.
    pub field: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Rejected {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl EventId {
    /// The id itself.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Given(id) | Self::Made(id) => id,
        }
    }

    /// The id itself, moved out.
    pub fn into_string(self) -> String {
        match self {
            Self::Given(id) | Self::Made(id) => id,
        }
    }
}

impl Event {
    /// The canonical key that decides its partition.
    pub fn partition_key(&self) -> &KeyText {
        // `validate` and `Entry::decode` let no event without a key through.
        &self.keys[0].1
    }

    /// Its partition in a log of so many.
    pub fn partition(&self, partitions: u16) -> Partition {
        partition_of(self.partition_key().as_str(), partitions)
    }

    /// Its key for that entity, if it names one.
    pub fn key(&self, entity: &str) -> Option<&KeyText> {
        self.keys.iter().find(|(name, _)| name == entity).map(|(_, key)| key)
    }
}

impl RawEvent {
    /// Takes one JSON object apart. `flat` is the form of `POST /event`.
    pub fn parse(text: &str, flat: bool) -> Result<Self, Rejected> {
        let fields: Fields = serde_json::from_str(text)
            .map_err(|error| Rejected::new("", format!("expected one event as a JSON object: {error}")))?;
        if let Some(name) = fields.repeated() {
            return Err(Rejected::new(name, "this field is given twice"));
        }
        let mut raw = Self { flat, ..Self::default() };
        for (name, value) in fields.0 {
            let slot = match name.as_str() {
                "type" => &mut raw.event_type,
                "id" => &mut raw.id,
                "source" => &mut raw.source,
                "time" => &mut raw.time,
                "traceparent" => &mut raw.traceparent,
                "properties" => {
                    raw.properties = Some(value);
                    continue;
                }
                _ => {
                    raw.fields.push((name, value));
                    continue;
                }
            };
            *slot = Some(json::parse(value.get(), &name).map_err(|e| Rejected::new(e.path, e.message))?);
        }
        Ok(raw)
    }

    /// Believes the event or says why not. `now` is the clock in epoch ms; `make_id` makes an id for an event
    /// without one.
    pub fn validate(
        self,
        definitions: &Definitions,
        now: i64,
        make_id: impl FnOnce() -> EventId,
    ) -> Result<Event, Rejected> {
        let event_type = self.event_type(definitions)?;
        let time = self.time.as_ref().filter(|v| !v.is_null()).map(|value| event_time(value, now)).transpose()?;
        let id = match name_field("id", self.id)? {
            Some(id) => EventId::Given(id),
            None => make_id(),
        };
        let source = name_field("source", self.source)?.unwrap_or_default();
        let traceparent = name_field("traceparent", self.traceparent)?;
        let (keys, rest) = take_keys(definitions, event_type, self.fields)?;
        let properties = properties_text(self.properties, rest, self.flat)?;
        let properties = check_properties(event_type, &properties)?;
        Ok(Event { event_type: event_type.name.clone(), source, id, time, keys, properties, traceparent })
    }

    fn event_type<'d>(&self, definitions: &'d Definitions) -> Result<&'d EventType, Rejected> {
        let name = match &self.event_type {
            Some(Value::String(name)) => name,
            Some(other) => return Err(Rejected::new("type", format!("expected a string, got {}", kind_of(other)))),
            None => return Err(Rejected::new("type", "this field is required")),
        };
        definitions.event(name).map(|(_, event)| event).ok_or_else(|| {
            let known: Vec<&str> = definitions.events.iter().map(|event| event.name.as_str()).collect();
            Rejected::new("type", format!("no event type `{}`; there is {}", shorten(name), known.join(", ")))
        })
    }
}

/// The members of a JSON object, in order, values untouched, names that come twice too.
#[derive(Debug)]
pub struct Fields(pub Vec<(String, Box<RawValue>)>);

impl Fields {
    /// A name that comes twice. Sorts rather than compares each with each: a sender chooses how many there are.
    pub fn repeated(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn event_time(value: &Value, now: i64) -> Result<i64, Rejected> {
    let expected = "expected RFC 3339 (2026-11-21T12:00:00Z) or epoch milliseconds";
    let time = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis()),
        _ => None,
    };
    let time = time.ok_or_else(|| Rejected::new("time", expected))?;
    if !TIME_RANGE.contains(&time) {
        return Err(Rejected::new("time", "outside 1900 to 2299; epoch times are in milliseconds"));
    }
    if time > now.saturating_add(MAX_FUTURE_MS) {
        return Err(Rejected::new("time", format!("more than {} s ahead of the clock", MAX_FUTURE_MS / 1_000)));
    }
    Ok(time)
}

fn name_field(field: &str, value: Option<Value>) -> Result<Option<String>, Rejected> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) if field == "id" && !number.is_f64() => number.to_string(),
        Some(other) => return Err(Rejected::new(field, format!("expected a string, got {}", kind_of(&other)))),
    };
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(Rejected::new(field, format!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(Some(text))
}

type TakenKeys = (Vec<(String, KeyText)>, Vec<(String, Box<RawValue>)>);

/// The keys of the type's entities, in its order, and the fields that are none.
fn take_keys(
    definitions: &Definitions,
    event_type: &EventType,
    mut fields: Vec<(String, Box<RawValue>)>,
) -> Result<TakenKeys, Rejected> {
    let mut keys = Vec::with_capacity(event_type.entities.len());
    for (index, entity) in event_type.entities.iter().map(|index| &definitions.entities[*index]).enumerate() {
        let mut parts: Vec<(KeyType, Value)> = Vec::with_capacity(entity.key.len());
        for (name, kind) in &entity.key {
            let Some(at) = fields.iter().position(|(field, _)| field == name) else { continue };
            let value =
                json::parse(fields.swap_remove(at).1.get(), name).map_err(|e| Rejected::new(e.path, e.message))?;
            if !value.is_null() {
                parts.push((*kind, value));
            }
        }
        let first_field = entity.key.first().map_or("", |(name, _)| name);
        if parts.is_empty() && index > 0 {
            continue;
        }
        if parts.len() < entity.key.len() {
            let names: Vec<&str> = entity.key.iter().map(|(name, _)| name.as_str()).collect();
            let reason = format!("the key of {} is required: {}", entity.name, names.join(", "));
            return Err(Rejected::new(first_field, reason));
        }
        let borrowed: Vec<(KeyType, &Value)> = parts.iter().map(|(kind, value)| (*kind, value)).collect();
        let key = KeyText::from_parts(&borrowed).map_err(|e| Rejected::new(first_field, e.to_string()))?;
        keys.push((entity.name.clone(), key));
    }
    Ok((keys, fields))
}

/// One JSON object text of all properties, whichever form they came in.
fn properties_text(
    properties: Option<Box<RawValue>>,
    rest: Vec<(String, Box<RawValue>)>,
    flat: bool,
) -> Result<Cow<'static, str>, Rejected> {
    if !flat {
        if let Some((name, _)) = rest.first() {
            let reason = "no such field; an entity key this type carries goes here, all else under `properties`";
            return Err(Rejected::new(shorten(name), reason));
        }
        return Ok(properties.map_or(Cow::Borrowed("{}"), |raw| Cow::Owned(raw.get().to_owned())));
    }
    if properties.is_some() {
        return Err(Rejected::new("properties", "the flat form has its properties at the top; see POST /v1/events"));
    }
    let members: Vec<String> =
        rest.iter().map(|(name, value)| format!("{}:{}", Value::String(name.clone()), value.get())).collect();
    Ok(Cow::Owned(format!("{{{}}}", members.join(","))))
}

/// Checks the properties against the schema and against what the views will read; answers their canonical text.
fn check_properties(event_type: &EventType, text: &str) -> Result<String, Rejected> {
    let mut value = json::parse(text, "properties").map_err(|e| Rejected::new(e.path, e.message))?;
    if value.is_null() {
        value = Value::Object(serde_json::Map::new());
    }
    if !value.is_object() {
        return Err(Rejected::new("properties", format!("expected an object, got {}", kind_of(&value))));
    }
    if let Some(schema) = &event_type.schema
        && let Some((pointer, reason)) = schema.error(&value)
    {
        return Err(Rejected::new(format!("properties{}", pointer.replace('/', ".")), reason));
    }
    let declared =
        crate::extract::properties(event_type, text).map_err(|error| Rejected::new("properties", error.to_string()))?;
    for (index, kind) in &event_type.reads {
        let (path, Some(raw)) = (&event_type.paths[*index], declared[*index]) else { continue };
        let scalar = Scalar::read(raw.get(), kind).map_err(|e| Rejected::new(path.text(), e.to_string()))?;
        if let (Some(Scalar::Decimal(_)), Some(finest)) = (scalar, path.decimal)
            && let Ok(Some(Scalar::Decimal(units))) = Scalar::read(raw.get(), &ValueType::Decimal(finest))
        {
            set_path(&mut value, &path.segments, Value::String(finest.format(units)));
        }
    }
    Ok(value.to_string())
}

fn set_path(value: &mut Value, segments: &[String], new: Value) {
    let place = segments.iter().try_fold(value, |inner, segment| inner.get_mut(segment));
    if let Some(place) = place {
        *place = new;
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
