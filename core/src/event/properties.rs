//! The properties of an event on the strict path: found in either form, checked against the schema and against the types
//! that views read, and written canonically.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::model::{Rejected, shorten};
use super::raw::EventForm;
use crate::definitions::{EventType, ValueType};
use crate::extract;
use crate::json::{self, kind_of};
use crate::scalar::Scalar;

/// The text of one JSON object with all properties. `others` are the fields that are neither reserved nor keys.
pub fn text(
    properties: Option<Box<RawValue>>,
    others: &[(String, Box<RawValue>)],
    form: EventForm,
) -> Result<Cow<'static, str>, Rejected> {
    match (form, properties, others) {
        (EventForm::Nested, _, [(name, _), ..]) => {
            let reason = "unknown field; the keys of this event type go here, everything else under `properties`";
            Err(Rejected::new(shorten(name), reason))
        }
        (EventForm::Nested, Some(raw), []) => Ok(Cow::Owned(raw.get().to_owned())),
        (EventForm::Nested, None, []) => Ok(Cow::Borrowed("{}")),
        (EventForm::Flat, Some(_), _) => {
            Err(Rejected::new("properties", "the flat form has its properties at the top; see POST /v1/events"))
        }
        (EventForm::Flat, None, others) => {
            let member = |(name, value): &(String, Box<RawValue>)| format!("{}:{}", Value::from(&**name), value.get());
            let members: Vec<String> = others.iter().map(member).collect();
            Ok(Cow::Owned(format!("{{{}}}", members.join(","))))
        }
    }
}

/// Checks the properties and returns their canonical text.
pub fn check(event_type: &EventType, text: &str) -> Result<String, Rejected> {
    let mut tree = json::parse(text, "properties").map_err(|error| Rejected::new(error.path, error.message))?;
    if tree.is_null() {
        tree = Value::Object(serde_json::Map::new());
    }
    if !tree.is_object() {
        return Err(Rejected::new("properties", format!("expected an object, got {}", kind_of(&tree))));
    }
    if let Some(schema) = &event_type.schema
        && let Some((pointer, reason)) = schema.violation(&tree)
    {
        return Err(Rejected::new(format!("properties{}", pointer.replace('/', ".")), reason));
    }
    write_decimals(event_type, text, &mut tree)?;
    Ok(tree.to_string())
}

/// Reads every declared property from the text, which has all digits, and puts exact decimals into the tree.
fn write_decimals(event_type: &EventType, text: &str, tree: &mut Value) -> Result<(), Rejected> {
    let declared =
        extract::properties(event_type, text).map_err(|error| Rejected::new("properties", error.to_string()))?;
    for (index, kind) in &event_type.reads {
        let (path, Some(raw)) = (&event_type.paths[*index], declared[*index]) else { continue };
        let scalar = Scalar::read(raw.get(), kind).map_err(|error| Rejected::new(path.text(), error.to_string()))?;
        if let (Some(Scalar::Decimal(_)), Some(finest)) = (scalar, path.decimal)
            && let Ok(Some(Scalar::Decimal(units))) = Scalar::read(raw.get(), &ValueType::Decimal(finest))
        {
            set_path(tree, &path.segments, Value::String(finest.format(units)));
        }
    }
    Ok(())
}

fn set_path(tree: &mut Value, segments: &[String], new: Value) {
    let place = segments.iter().try_fold(tree, |inner, segment| inner.get_mut(segment));
    if let Some(place) = place {
        *place = new;
    }
}
