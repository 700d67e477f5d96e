//! The short way to an event: one pass over its text, nothing copied that the event does not keep. It says yes or
//! nothing: whatever it does not take goes the long way (`RawEvent::parse`, `validate`), which judges and has the
//! words. Where both say yes they say the same, which a test holds.

use serde_json::Value;

use super::{Event, EventId, RawEvent, Rejected, event_time, name_field};
use crate::definitions::{Definitions, Entity, EventType, ValueType};
use crate::json::tape::{Kind, Node, Tape};
use crate::key::{KeyText, KeyType};
use crate::scalar::Scalar;

/// Reads events, in room that it uses again.
#[derive(Debug)]
pub struct EventReader<'d, 'a> {
    definitions: &'d Definitions,
    flat: bool,
    tape: Tape<'a>,
}

impl<'d, 'a> EventReader<'d, 'a> {
    /// `flat`: events come in the form of `POST /event`.
    pub fn new(definitions: &'d Definitions, flat: bool) -> Self {
        Self { definitions, flat, tape: Tape::default() }
    }

    /// What events are checked against.
    pub fn definitions(&self) -> &'d Definitions {
        self.definitions
    }

    /// What [`RawEvent::parse`] and then [`RawEvent::validate`] say of the text.
    pub fn read(&mut self, text: &'a str, now: i64, make_id: impl FnOnce() -> EventId) -> Result<Event, Rejected> {
        if !self.flat
            && let Some(top) = self.tape.read(text)
            && let Some(parts) = parts(self.definitions, top, now)
        {
            return Ok(parts.into_event(make_id));
        }
        RawEvent::parse(text, self.flat)?.validate(self.definitions, now, make_id)
    }
}

/// The short way alone.
#[cfg(test)]
pub(super) fn short(definitions: &Definitions, text: &str, now: i64, make_id: fn() -> EventId) -> Option<Event> {
    parts(definitions, Tape::default().read(text)?, now).map(|parts| parts.into_event(make_id))
}

/// An event that may still need an id.
struct Parts<'d> {
    event_type: &'d EventType,
    source: String,
    id: Option<String>,
    time: Option<i64>,
    keys: Vec<(String, KeyText)>,
    properties: String,
    traceparent: Option<String>,
}

impl Parts<'_> {
    fn into_event(self, make_id: impl FnOnce() -> EventId) -> Event {
        let Self { event_type, source, id, time, keys, properties, traceparent } = self;
        let id = id.map_or_else(make_id, EventId::Given);
        Event { event_type: event_type.name.clone(), source, id, time, keys, properties, traceparent }
    }
}

/// The parts of a valid event; none where the long way has to tell.
fn parts<'d>(definitions: &'d Definitions, top: Node<'_, '_>, now: i64) -> Option<Parts<'d>> {
    let event_type = definitions.event(&top.member("type")?.string()?)?.1;
    let (mut source, mut id, mut time, mut traceparent, mut properties) = (None, None, None, None, None);
    let mut others = 0;
    for member in top.children() {
        match member.item().name {
            "type" => {}
            "id" => id = text_of("id", member)?,
            "source" => source = text_of("source", member)?,
            "traceparent" => traceparent = text_of("traceparent", member)?,
            "time" if member.item().kind == Kind::Null => {}
            "time" => time = Some(event_time(&member.to_value(), now).ok()?),
            "properties" => properties = Some(member),
            _ => others += 1,
        }
    }
    let (keys, taken) = keys(definitions, event_type, top)?;
    if taken != others {
        return None;
    }
    let properties = properties_text(event_type, properties?)?;
    let source = source.unwrap_or_default();
    Some(Parts { event_type, source, id, time, keys, properties, traceparent })
}

fn text_of(field: &str, node: Node<'_, '_>) -> Option<Option<String>> {
    name_field(field, Some(node.to_value())).ok()
}

/// The keys of the type's entities, and how many fields they are made of.
fn keys(
    definitions: &Definitions,
    event_type: &EventType,
    top: Node<'_, '_>,
) -> Option<(Vec<(String, KeyText)>, usize)> {
    let mut keys = Vec::with_capacity(event_type.entities.len());
    let mut taken = 0;
    for (index, entity) in event_type.entities.iter().map(|index| &definitions.entities[*index]).enumerate() {
        match key(entity, top, &mut taken)? {
            Some(key) => keys.push((entity.name.clone(), key)),
            None if index > 0 => {}
            None => return None,
        }
    }
    Some((keys, taken))
}

/// An entity's key, none where nothing of it is given; nothing where it is not whole, or no key.
fn key(entity: &Entity, top: Node<'_, '_>, taken: &mut usize) -> Option<Option<KeyText>> {
    let mut parts: Vec<(KeyType, Value)> = Vec::new();
    for (name, kind) in &entity.key {
        let Some(member) = top.member(name) else { continue };
        *taken += 1;
        if (*kind, member.item().kind, entity.key.len()) == (KeyType::Int64, Kind::Int, 1) {
            return Some(Some(KeyText::from_canonical(member.item().text)));
        }
        if member.item().kind != Kind::Null {
            parts.push((*kind, member.to_value()));
        }
    }
    if parts.is_empty() {
        return Some(None);
    }
    let borrowed: Vec<(KeyType, &Value)> = parts.iter().map(|(kind, value)| (*kind, value)).collect();
    (parts.len() == entity.key.len()).then_some(())?;
    KeyText::from_parts(&borrowed).ok().map(Some)
}

/// The canonical text of properties that the schema takes and the views can read.
fn properties_text(event_type: &EventType, properties: Node<'_, '_>) -> Option<String> {
    let wanted = properties.item().kind == Kind::Object
        && event_type.schema.as_ref().is_none_or(|schema| schema.takes(properties));
    if !wanted {
        return None;
    }
    let mut exact: Vec<(usize, String)> = Vec::new();
    for (index, kind) in &event_type.reads {
        let path = &event_type.paths[*index];
        let Some(node) = properties.below(&path.segments) else { continue };
        let text = node.item().text;
        let scalar = Scalar::read(text, kind).ok()?;
        let (Some(Scalar::Decimal(units)), Some(finest)) = (scalar, path.decimal) else { continue };
        let units = match *kind == ValueType::Decimal(finest) {
            true => Some(Scalar::Decimal(units)),
            false => Scalar::read(text, &ValueType::Decimal(finest)).ok().flatten(),
        };
        if let Some(Scalar::Decimal(units)) = units {
            exact.push((node.index(), format!("\"{}\"", finest.format(units))));
        }
    }
    let mut text = String::with_capacity(properties.item().text.len() + 2 * exact.len());
    properties.write(&exact, &mut text);
    Some(text)
}
