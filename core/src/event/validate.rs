//! The strict path from a raw event to a valid one: checks each field and words each rejection. Properties are left to
//! `properties`.

use serde_json::Value;
use serde_json::value::RawValue;

use super::model::{Event, EventId, MAX_FUTURE_MS, MAX_NAME_BYTES, Rejected, shorten};
use super::properties;
use super::raw::RawEvent;
use crate::definitions::{Definitions, Entity, EventType};
use crate::instant;
use crate::json::{self, kind_of};
use crate::key::{KeyText, KeyType};

/// The fields of an event that are neither reserved nor `properties`.
type OtherFields = Vec<(String, Box<RawValue>)>;

impl RawEvent {
    /// Checks the event and returns it valid, or says why it is rejected. `now` is the clock in epoch ms; `make_id` makes
    /// an id for an event that comes without one.
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
        let mut fields = self.fields;
        let keys = take_keys(definitions, event_type, &mut fields)?;
        let properties = properties::text(self.properties, &fields, self.form)?;
        let properties = properties::check(event_type, &properties)?;
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
            Rejected::new(
                "type",
                format!("unknown event type `{}`; the known types are {}", shorten(name), known.join(", ")),
            )
        })
    }
}

/// Reads `time`: RFC 3339 or a number of epoch milliseconds, within what every store holds and not far in the future.
pub(crate) fn event_time(value: &Value, now: i64) -> Result<i64, Rejected> {
    let time = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => instant::from_rfc3339(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let expected = "expected RFC 3339 (2026-11-21T12:00:00Z) or epoch milliseconds";
    let time = time.ok_or_else(|| Rejected::new("time", expected))?;
    if !instant::STORABLE.contains(&time) {
        return Err(Rejected::new("time", "outside 1900 to 2299; epoch times are in milliseconds"));
    }
    if time > now.saturating_add(MAX_FUTURE_MS) {
        return Err(Rejected::new("time", format!("more than {} s ahead of the clock", MAX_FUTURE_MS / 1_000)));
    }
    Ok(time)
}

/// Reads `id`, `source` or `traceparent`. Null is the same as absent; an id may be an integer.
pub(crate) fn name_field(field: &str, value: Option<Value>) -> Result<Option<String>, Rejected> {
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

/// The keys of the type's entities, in its order. Takes the fields that they are made of out of `fields`.
fn take_keys(
    definitions: &Definitions,
    event_type: &EventType,
    fields: &mut OtherFields,
) -> Result<Vec<(String, KeyText)>, Rejected> {
    let mut keys = Vec::with_capacity(event_type.entities.len());
    for (index, entity) in event_type.entities.iter().map(|index| &definitions.entities[*index]).enumerate() {
        let parts = take_key_parts(entity, fields)?;
        if parts.is_empty() && index > 0 {
            continue;
        }
        keys.push((entity.name.clone(), key(entity, &parts)?));
    }
    Ok(keys)
}

fn take_key_parts(entity: &Entity, fields: &mut OtherFields) -> Result<Vec<(KeyType, Value)>, Rejected> {
    let mut parts = Vec::with_capacity(entity.key.len());
    for (name, kind) in &entity.key {
        let Some(at) = fields.iter().position(|(field, _)| field == name) else { continue };
        let (_, raw) = fields.swap_remove(at);
        let value = json::parse(raw.get(), name).map_err(|error| Rejected::new(error.path, error.message))?;
        if !value.is_null() {
            parts.push((*kind, value));
        }
    }
    Ok(parts)
}

fn key(entity: &Entity, parts: &[(KeyType, Value)]) -> Result<KeyText, Rejected> {
    let names: Vec<&str> = entity.key.iter().map(|(name, _)| name.as_str()).collect();
    let first_field = names.first().copied().unwrap_or_default();
    if parts.len() < names.len() {
        let reason = format!("the key of {} is required: {}", entity.name, names.join(", "));
        return Err(Rejected::new(first_field, reason));
    }
    let borrowed: Vec<(KeyType, &Value)> = parts.iter().map(|(kind, value)| (*kind, value)).collect();
    KeyText::from_parts(&borrowed).map_err(|error| Rejected::new(first_field, error.to_string()))
}
