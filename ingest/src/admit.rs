//! From request bodies to entries: split, validate, append. Knows nothing of HTTP.

use std::borrow::Cow;

use millrace_common::clock::now_ms;
use millrace_common::log::{AppendError, Appender};
use millrace_core::event::{Event, EventId, EventReader, MAX_EVENT_BYTES, Rejected};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use serde_json::value::RawValue;

use crate::cloudevents::Mode;
use crate::error::RequestError;

/// The most events of one request.
const MAX_EVENTS: usize = 50_000;

/// What a request says of its events besides the events.
#[derive(Clone, Debug, Default)]
pub struct RequestContext<'h> {
    /// `Idempotency-Key`: gives events without an id one that a resend repeats.
    pub idempotency_key: Option<String>,
    /// `traceparent` of the request.
    pub traceparent: Option<String>,
    /// Whether the events are in the flat form of `POST /event`.
    pub flat: bool,
    /// How they are CloudEvents, if they are.
    pub cloudevents: Option<Mode<'h>>,
}

/// An event that is in the log.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Where.
    pub partition: Partition,
    /// Its place there.
    pub position: Position,
    /// Its id.
    pub event_id: String,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object.
    One,
    /// An array.
    Array,
    /// An object a line.
    Lines,
}

/// Stands for a line that is no text: no JSON either.
const NOT_UTF8: &str = "\u{fffd}";

/// The body as text. Of lines only those that are none are left out, and each of them is rejected by itself.
pub fn text(body: &[u8], lines: bool) -> Result<Cow<'_, str>, RequestError> {
    match std::str::from_utf8(body) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) if lines => {
            let lines = body.split(|byte| *byte == b'\n').map(|line| std::str::from_utf8(line).unwrap_or(NOT_UTF8));
            Ok(Cow::Owned(lines.collect::<Vec<_>>().join("\n")))
        }
        Err(error) => Err(RequestError::Unparsable(format!("not UTF-8: {error}"))),
    }
}

/// Finds the events in a body, without looking into them. `told` is its form where the request says it.
pub fn split(body: &str, told: Option<Form>) -> Result<(Form, Vec<&str>), RequestError> {
    let form = match (body.trim_start().as_bytes().first(), told) {
        (None, told) => {
            let expected = match told {
                None => "an event or an array of events",
                Some(Form::One) => "a JSON object: the event, or its data where headers hold the rest of it",
                Some(Form::Array) => "an array of events",
                Some(Form::Lines) => "an event a line",
            };
            return Err(RequestError::Unparsable(format!("the body is empty; expected {expected}")));
        }
        (_, Some(form)) => form,
        (Some(b'['), None) => Form::Array,
        (Some(_), None) => Form::One,
    };
    let events: Vec<&str> = match form {
        Form::One => vec![body],
        Form::Lines => body.lines().filter(|line| !line.trim().is_empty()).collect(),
        Form::Array => {
            let items: Vec<&RawValue> = serde_json::from_str(body)
                .map_err(|error| RequestError::Unparsable(format!("the body is no JSON array: {error}")))?;
            items.into_iter().map(RawValue::get).collect()
        }
    };
    if form == Form::One && body.len() > MAX_EVENT_BYTES {
        return Err(RequestError::TooLarge(too_large()));
    }
    if events.len() > MAX_EVENTS {
        return Err(RequestError::TooLarge(format!("more than {MAX_EVENTS} events in one request")));
    }
    if form == Form::One && serde_json::from_str::<serde::de::IgnoredAny>(body).is_err() {
        let advice = if told.is_none() { "; send lines as application/x-ndjson" } else { "" };
        return Err(RequestError::Unparsable(format!("the body is not valid JSON{advice}")));
    }
    Ok((form, events))
}

fn too_large() -> String {
    format!("an event must not be larger than {MAX_EVENT_BYTES} bytes")
}

/// Validates one event of a request.
pub fn validate<'b>(
    reader: &mut EventReader<'_, 'b>,
    context: &RequestContext<'_>,
    index: usize,
    text: &'b str,
) -> Result<Event, Rejected> {
    if text.len() > MAX_EVENT_BYTES {
        return Err(Rejected { field: String::new(), reason: too_large() });
    }
    if text == NOT_UTF8 {
        return Err(Rejected { field: String::new(), reason: "the line is not UTF-8".to_owned() });
    }
    let make_id = || match &context.idempotency_key {
        Some(key) => EventId::Given(format!("{key}-{index}")),
        None => EventId::Made(uuid::Uuid::now_v7().to_string()),
    };
    let mut event = match context.cloudevents {
        Some(mode) => mode.raw_event(text)?.validate(reader.definitions(), now_ms(), make_id)?,
        None => reader.read(text, now_ms(), make_id)?,
    };
    if event.traceparent.is_none() {
        event.traceparent.clone_from(&context.traceparent);
    }
    Ok(event)
}

/// Appends valid events in order. Each has its own outcome.
pub async fn append(appender: &Appender, partitions: u16, events: Vec<Event>) -> Vec<Result<Accepted, AppendError>> {
    let placed: Vec<(Partition, &Event)> = events.iter().map(|event| (event.partition(partitions), event)).collect();
    let outcomes = appender.append_batch(&placed).await;
    let places: Vec<Partition> = placed.into_iter().map(|(partition, _)| partition).collect();
    let accepted = |((event, partition), outcome): ((Event, Partition), Result<Position, AppendError>)| {
        outcome.map(|position| Accepted { partition, position, event_id: event.id.into_string() })
    };
    events.into_iter().zip(places).zip(outcomes).map(accepted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_an_array_or_lines() {
        assert_eq!(split(r#"{"a":1}"#, None).unwrap(), (Form::One, vec![r#"{"a":1}"#]));
        assert_eq!(split(r#" [{"a":1},{"b":2}]"#, None).unwrap(), (Form::Array, vec![r#"{"a":1}"#, r#"{"b":2}"#]));
        assert_eq!(
            split("{\"a\":1}\n\n{\"b\"\n", Some(Form::Lines)).unwrap(),
            (Form::Lines, vec![r#"{"a":1}"#, r#"{"b""#])
        );
        assert_eq!(text(b"a\n\xff\xc3\xa9\n\nb", true).unwrap(), "a\n\u{fffd}\n\nb");
        assert!(matches!(text(b"\xff", false), Err(RequestError::Unparsable(_))));
        for bad in ["", "  ", "{", "[{}", "{} {}"] {
            assert!(matches!(split(bad, None), Err(RequestError::Unparsable(_))), "{bad}");
        }
    }

    #[test]
    fn an_empty_body_is_told_what_its_form_expects() {
        for (told, part) in [
            (None, "an event or an array of events"),
            (Some(Form::One), "a JSON object: the event, or its data"),
            (Some(Form::Array), "expected an array of events"),
            (Some(Form::Lines), "an event a line"),
        ] {
            let error = split(" \n", told).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn one_event_that_is_too_large_is_a_request_that_is() {
        let event = |bytes: usize| format!(r#"{{"type":"{}"}}"#, "x".repeat(bytes - r#"{"type":""}"#.len()));
        assert!(split(&event(MAX_EVENT_BYTES), None).is_ok());
        for told in [None, Some(Form::One)] {
            assert!(matches!(split(&event(MAX_EVENT_BYTES + 1), told), Err(RequestError::TooLarge(_))));
        }
        assert!(split(&format!("[{}]", event(MAX_EVENT_BYTES + 1)), None).is_ok(), "its neighbours are taken");
    }
}
