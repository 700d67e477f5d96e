//! One event as it came: split into its fields, not yet checked. Checking is left to `validate`.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::model::Rejected;
use crate::json;

/// Where an event has its properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventForm {
    /// Under `properties`.
    #[default]
    Nested,
    /// At the top: every field that is neither reserved nor a key is a property (`POST /event`).
    Flat,
}

/// One event as it came.
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
    /// The other fields at the top: entity keys, and properties too in the flat form.
    pub fields: Vec<(String, Box<RawValue>)>,
    /// Where its properties are.
    pub form: EventForm,
}

impl RawEvent {
    /// Splits one JSON object into its fields.
    pub fn parse(text: &str, form: EventForm) -> Result<Self, Rejected> {
        let fields: Fields = serde_json::from_str(text)
            .map_err(|error| Rejected::new("", format!("expected one event as a JSON object: {error}")))?;
        if let Some(name) = fields.repeated() {
            return Err(Rejected::new(name, "this field is given twice"));
        }
        let mut raw = Self { form, ..Self::default() };
        for (name, value) in fields.0 {
            raw.add(name, value)?;
        }
        Ok(raw)
    }

    fn add(&mut self, name: String, value: Box<RawValue>) -> Result<(), Rejected> {
        let field = match name.as_str() {
            "type" => &mut self.event_type,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "time" => &mut self.time,
            "traceparent" => &mut self.traceparent,
            "properties" => {
                self.properties = Some(value);
                return Ok(());
            }
            _ => {
                self.fields.push((name, value));
                return Ok(());
            }
        };
        *field = Some(json::parse(value.get(), &name).map_err(|error| Rejected::new(error.path, error.message))?);
        Ok(())
    }
}

/// The members of a JSON object in their order, with unparsed values. A name may stand here twice.
#[derive(Debug)]
pub struct Fields(pub Vec<(String, Box<RawValue>)>);

impl Fields {
    /// A name that is given twice. Sorts the names, because the sender decides how many there are.
    pub fn repeated(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}
