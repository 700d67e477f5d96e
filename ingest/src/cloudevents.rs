//! CloudEvents 1.0 as raw events: structured (one, or each of a batch) and binary (attributes in headers, data in the
//! body). Checks the envelope only; the event inside is checked like any other. Attributes that Millrace does not use
//! (`subject`, `dataschema`, extensions except `traceparent`) are left out.
//! <https://github.com/cloudevents/spec/tree/ce%40v1.0.2/cloudevents>: `spec.md`, `formats/json-format.md`,
//! `bindings/http-protocol-binding.md`.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_core::event::{EventForm, Fields, RawEvent, Rejected};
use millrace_core::{instant, percent};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::RequestError;
use crate::split::BodyForm;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
const REQUIRED: &str = "this field is required";

/// The content mode of a request with CloudEvents.
#[derive(Clone, Copy, Debug)]
pub enum CloudEventsMode<'h> {
    /// One event, envelope and data in the body.
    Structured,
    /// An array of those.
    Batched,
    /// One event, its envelope in these headers.
    Binary(&'h HeaderMap),
}

impl<'h> CloudEventsMode<'h> {
    /// The mode of a request; None when it has no CloudEvents.
    pub fn of(content_type: &str, headers: &'h HeaderMap) -> Result<Option<Self>, RequestError> {
        match media_type(content_type).as_str() {
            STRUCTURED => Ok(Some(Self::Structured)),
            BATCHED => Ok(Some(Self::Batched)),
            other if other.starts_with("application/cloudevents") => Err(RequestError::Unparsable(format!(
                "CloudEvents are taken as {STRUCTURED}, as {BATCHED} or with their attributes in `ce-` headers"
            ))),
            _ => Ok(headers.contains_key("ce-specversion").then_some(Self::Binary(headers))),
        }
    }

    /// The form of its body.
    pub fn body_form(self) -> BodyForm {
        match self {
            Self::Structured | Self::Binary(_) => BodyForm::One,
            Self::Batched => BodyForm::Array,
        }
    }

    /// Takes one event of the body out of its envelope.
    pub fn raw_event(self, text: &str) -> Result<RawEvent, Rejected> {
        match self {
            Self::Structured | Self::Batched => structured(text),
            Self::Binary(headers) => CloudEventAttributes::from_headers(headers)?.with_data("", text),
        }
    }
}

/// The attributes that Millrace uses.
#[derive(Default)]
struct CloudEventAttributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    traceparent: Option<String>,
}

impl CloudEventAttributes {
    fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "time" => &mut self.time,
            "datacontenttype" => &mut self.datacontenttype,
            "traceparent" => &mut self.traceparent,
            _ => return None,
        })
    }

    fn from_headers(headers: &HeaderMap) -> Result<Self, Rejected> {
        let mut attributes = Self::default();
        for (header, value) in headers {
            let name = match header {
                &header::CONTENT_TYPE => "datacontenttype",
                header => header.as_str().strip_prefix("ce-").unwrap_or_default(),
            };
            let Some(slot) = attributes.slot(name) else { continue };
            let decoded = decoded(value.as_bytes());
            let text = decoded.ok_or_else(|| Rejected::new(name, "its header is not UTF-8 once percent-decoded"))?;
            if slot.replace(text).is_some() {
                return Err(Rejected::new(name, "its header is given twice"));
            }
        }
        Ok(attributes)
    }

    /// The event. Data with a member `properties` has the nested form, other data the flat form.
    fn with_data(self, field: &str, data: &str) -> Result<RawEvent, Rejected> {
        let version = self.specversion.ok_or_else(|| Rejected::new("specversion", REQUIRED))?;
        if version != "1.0" {
            return Err(Rejected::new("specversion", "expected 1.0"));
        }
        if !self.datacontenttype.is_none_or(|content_type| is_json(&content_type)) {
            return Err(Rejected::new("datacontenttype", "expected JSON, such as application/json"));
        }
        let required = |name, value: Option<String>| match value {
            Some(text) => Ok(Some(Value::String(text))),
            None => Err(Rejected::new(name, REQUIRED)),
        };
        // Millrace's own events may also have epoch milliseconds.
        if self.time.as_ref().is_some_and(|time| instant::from_rfc3339(time).is_none()) {
            return Err(Rejected::new("time", "expected RFC 3339, such as 2026-11-21T12:00:00Z"));
        }
        let mut fields = members(field, data)?;
        let at = fields.iter().position(|(name, _)| name == "properties");
        let properties = at.map(|at| fields.remove(at).1);
        Ok(RawEvent {
            event_type: required("type", self.event_type)?,
            id: required("id", self.id)?,
            source: required("source", self.source)?,
            time: self.time.map(Value::String),
            traceparent: self.traceparent.map(Value::String),
            form: if properties.is_some() { EventForm::Nested } else { EventForm::Flat },
            properties,
            fields,
        })
    }
}

fn structured(text: &str) -> Result<RawEvent, Rejected> {
    let mut attributes = CloudEventAttributes::default();
    let (mut data, mut encoded) = (None, None);
    for (name, value) in members("", text)? {
        match name.as_str() {
            "data" => data = Some(value).filter(|value| value.get() != "null"),
            "data_base64" => encoded = string(&name, &value)?,
            _ => {
                if let Some(slot) = attributes.slot(&name) {
                    *slot = string(&name, &value)?;
                }
            }
        }
    }
    match (data, encoded) {
        (Some(data), None) => attributes.with_data("data", data.get()),
        (None, Some(encoded)) => {
            let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let data = decoded.ok_or_else(|| Rejected::new("data_base64", "expected JSON, in UTF-8, in Base64"))?;
            attributes.with_data("data_base64", &data)
        }
        (Some(_), Some(_)) => Err(Rejected::new("data_base64", "an event has `data` or `data_base64`, not both")),
        (None, None) => {
            Err(Rejected::new("data", "this field is required: an object with the keys and the properties"))
        }
    }
}

/// The members of a JSON object, each name once.
fn members(field: &str, text: &str) -> Result<Vec<(String, Box<RawValue>)>, Rejected> {
    let members: Fields =
        serde_json::from_str(text).map_err(|error| Rejected::new(field, format!("expected a JSON object: {error}")))?;
    match members.repeated() {
        Some(name) => Err(Rejected::new(name, "this field is given twice")),
        None => Ok(members.0),
    }
}

/// A string; None when it is null, which CloudEvents treats as absent.
fn string(name: &str, value: &RawValue) -> Result<Option<String>, Rejected> {
    serde_json::from_str(value.get()).map_err(|_| Rejected::new(name, "expected a string"))
}

/// A header's text by the HTTP binding (§3.1.3.2): without its quotes, then percent-decoded once. Returns None when the
/// result is not UTF-8. A `%` that begins no code stands for itself.
fn decoded(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let bytes = quoted.map_or(Cow::Borrowed(value), |inner| Cow::Owned(unescaped(inner)));
    String::from_utf8(percent::decode_lenient(&bytes).into_owned()).ok()
}

fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let mut escapes = false;
    let keeps = |byte: &u8| {
        escapes = *byte == b'\\' && !escapes;
        !escapes
    };
    quoted.iter().copied().filter(keeps).collect()
}

fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    media_type.split_once('/').is_some_and(|(_, kind)| kind == "json" || kind.ends_with("+json"))
}

/// The media type without its parameters.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
