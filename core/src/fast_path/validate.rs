//! Validates an event by its tokens. Decides only in favour: an event that it does not accept goes to the strict path,
//! which has the reasons.

use serde_json::Value;

use super::tokens::{TokenKind, TokenNode};
use crate::definitions::{Definitions, Entity, EventType, ValueType};
use crate::event::{Event, EventId, event_time, name_field};
use crate::key::{KeyText, KeyType};
use crate::scalar::Scalar;

/// A valid event that may still need an id.
pub struct ValidParts<'d> {
    event_type: &'d EventType,
    source: String,
    id: Option<String>,
    time: Option<i64>,
    keys: Vec<(String, KeyText)>,
    properties: String,
    traceparent: Option<String>,
}

impl ValidParts<'_> {
    /// The event. Calls `make_id` when the event came without an id.
    pub fn into_event(self, make_id: impl FnOnce() -> EventId) -> Event {
        let Self { event_type, source, id, time, keys, properties, traceparent } = self;
        let id = id.map_or_else(make_id, EventId::Given);
        Event { event_type: event_type.name.clone(), source, id, time, keys, properties, traceparent }
    }
}

/// The parts of a valid event. Returns None when the strict path has to judge the event.
pub fn valid_parts<'d>(definitions: &'d Definitions, top: TokenNode<'_, '_>, now: i64) -> Option<ValidParts<'d>> {
    parts(definitions, top, now).ok()
}

/// The fast path does not accept the event.
struct Undecided;

fn parts<'d>(definitions: &'d Definitions, top: TokenNode<'_, '_>, now: i64) -> Result<ValidParts<'d>, Undecided> {
    let type_name = top.member("type").and_then(TokenNode::string).ok_or(Undecided)?;
    let (_, event_type) = definitions.event(&type_name).ok_or(Undecided)?;
    let (mut source, mut id, mut time, mut traceparent, mut properties) = (None, None, None, None, None);
    let mut other_fields = 0;
    for member in top.children() {
        match member.token().name {
            "type" => {}
            "id" => id = text_field("id", member)?,
            "source" => source = text_field("source", member)?,
            "traceparent" => traceparent = text_field("traceparent", member)?,
            "time" if member.token().kind == TokenKind::Null => {}
            "time" => time = Some(event_time(&member.to_value(), now).map_err(|_| Undecided)?),
            "properties" => properties = Some(member),
            _ => other_fields += 1,
        }
    }
    let (keys, key_fields) = keys(definitions, event_type, top)?;
    if key_fields != other_fields {
        return Err(Undecided);
    }
    let properties = canonical_properties(event_type, properties.ok_or(Undecided)?)?;
    let source = source.unwrap_or_default();
    Ok(ValidParts { event_type, source, id, time, keys, properties, traceparent })
}

fn text_field(field: &str, node: TokenNode<'_, '_>) -> Result<Option<String>, Undecided> {
    name_field(field, Some(node.to_value())).map_err(|_| Undecided)
}

/// The keys of the type's entities, and how many fields of the event they are made of.
fn keys(
    definitions: &Definitions,
    event_type: &EventType,
    top: TokenNode<'_, '_>,
) -> Result<(Vec<(String, KeyText)>, usize), Undecided> {
    let mut keys = Vec::with_capacity(event_type.entities.len());
    let mut key_fields = 0;
    for (index, entity) in event_type.entities.iter().map(|index| &definitions.entities[*index]).enumerate() {
        match key(entity, top, &mut key_fields)? {
            Some(key) => keys.push((entity.name.clone(), key)),
            None if index > 0 => {}
            None => return Err(Undecided),
        }
    }
    Ok((keys, key_fields))
}

/// An entity's key; None when the event gives no part of it. Adds the fields that belong to it to `key_fields`.
fn key(entity: &Entity, top: TokenNode<'_, '_>, key_fields: &mut usize) -> Result<Option<KeyText>, Undecided> {
    let mut parts: Vec<(KeyType, Value)> = Vec::new();
    for (name, kind) in &entity.key {
        let Some(member) = top.member(name) else { continue };
        *key_fields += 1;
        if (*kind, member.token().kind, entity.key.len()) == (KeyType::Int64, TokenKind::Int, 1) {
            return Ok(Some(KeyText::from_canonical(member.token().text)));
        }
        if member.token().kind != TokenKind::Null {
            parts.push((*kind, member.to_value()));
        }
    }
    if parts.is_empty() {
        return Ok(None);
    }
    if parts.len() != entity.key.len() {
        return Err(Undecided);
    }
    let borrowed: Vec<(KeyType, &Value)> = parts.iter().map(|(kind, value)| (*kind, value)).collect();
    KeyText::from_parts(&borrowed).map(Some).map_err(|_| Undecided)
}

/// The canonical text of properties that satisfy the schema and that the views can read.
fn canonical_properties(event_type: &EventType, properties: TokenNode<'_, '_>) -> Result<String, Undecided> {
    let accepted = properties.token().kind == TokenKind::Object
        && event_type.schema.as_ref().is_none_or(|schema| schema.accepts(properties));
    if !accepted {
        return Err(Undecided);
    }
    let decimals = canonical_decimals(event_type, properties)?;
    let mut text = String::with_capacity(properties.token().text.len() + 2 * decimals.len());
    properties.write(&decimals, &mut text);
    Ok(text)
}

/// Reads every declared property. Returns the decimals, each with the index of its token, in their canonical text.
fn canonical_decimals(
    event_type: &EventType,
    properties: TokenNode<'_, '_>,
) -> Result<Vec<(usize, String)>, Undecided> {
    let mut decimals = Vec::new();
    for (index, kind) in &event_type.reads {
        let path = &event_type.paths[*index];
        let Some(node) = properties.at_path(&path.segments) else { continue };
        let text = node.token().text;
        let scalar = Scalar::read(text, kind).map_err(|_| Undecided)?;
        let (Some(Scalar::Decimal(units)), Some(finest)) = (scalar, path.decimal) else { continue };
        let finest_units = if *kind == ValueType::Decimal(finest) {
            Some(Scalar::Decimal(units))
        } else {
            Scalar::read(text, &ValueType::Decimal(finest)).ok().flatten()
        };
        if let Some(Scalar::Decimal(units)) = finest_units {
            decimals.push((node.index(), format!("\"{}\"", finest.format(units))));
        }
    }
    Ok(decimals)
}
