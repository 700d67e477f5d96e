//! Finds the events in a request body without looking into them. The required content of an event is left to
//! `admit`.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::error::RequestError;

/// The most events of one request.
pub const MAX_EVENTS: usize = 50_000;

/// Stands in for a line that is not UTF-8. It is not JSON either, so no event can look like it.
pub const NOT_UTF8: &str = "\u{fffd}";

/// How a body holds its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// One object.
    One,
    /// An array.
    Array,
    /// One object per line.
    Lines,
}

/// The body as text. A line that is not UTF-8 becomes [`NOT_UTF8`], so that it can be rejected alone; any other body is
/// refused as a whole.
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

/// The form of a body: the one that the request declares, else the one that the body begins as.
pub fn form(body: &str, declared: Option<BodyForm>) -> Result<BodyForm, RequestError> {
    match (body.trim_start().as_bytes().first(), declared) {
        (None, declared) => {
            let expected = match declared {
                None => "an event or an array of events",
                Some(BodyForm::One) => "a JSON object: the event, or its data when headers hold the rest of it",
                Some(BodyForm::Array) => "an array of events",
                Some(BodyForm::Lines) => "one event per line",
            };
            Err(RequestError::Unparsable(format!("the body is empty; expected {expected}")))
        }
        (Some(_), Some(form)) => Ok(form),
        (Some(b'['), None) => Ok(BodyForm::Array),
        (Some(_), None) => Ok(BodyForm::One),
    }
}

/// The events of a body with one event per line. Empty lines are skipped.
pub fn lines(body: &str) -> Result<Vec<&str>, RequestError> {
    bounded(body.lines().filter(|line| !line.trim().is_empty()).collect())
}

/// The elements of a JSON array.
pub fn array(body: &str) -> Result<Vec<&str>, RequestError> {
    let elements: Vec<&RawValue> = serde_json::from_str(body)
        .map_err(|error| RequestError::Unparsable(format!("the body is not a JSON array: {error}")))?;
    bounded(elements.into_iter().map(RawValue::get).collect())
}

/// Whether a text is valid JSON.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn bounded(events: Vec<&str>) -> Result<Vec<&str>, RequestError> {
    if events.len() > MAX_EVENTS {
        return Err(RequestError::TooLarge(format!("more than {MAX_EVENTS} events in one request")));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_an_array_or_lines() {
        assert_eq!(form(r#"{"a":1}"#, None).unwrap(), BodyForm::One);
        assert_eq!(form(r#" [{"a":1},{"b":2}]"#, None).unwrap(), BodyForm::Array);
        assert_eq!(form("{\"a\":1}\n\n{\"b\"\n", Some(BodyForm::Lines)).unwrap(), BodyForm::Lines);
        assert_eq!(array(r#" [{"a":1},{"b":2}]"#).unwrap(), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(lines("{\"a\":1}\n\n{\"b\"\n").unwrap(), [r#"{"a":1}"#, r#"{"b""#]);
        assert_eq!(text(b"a\n\xff\xc3\xa9\n\nb", true).unwrap(), "a\n\u{fffd}\n\nb");
        assert!(matches!(text(b"\xff", false), Err(RequestError::Unparsable(_))));
        assert!(matches!(array("[{}"), Err(RequestError::Unparsable(_))));
    }

    #[test]
    fn an_empty_body_is_told_what_its_form_expects() {
        for (declared, part) in [
            (None, "an event or an array of events"),
            (Some(BodyForm::One), "a JSON object: the event, or its data"),
            (Some(BodyForm::Array), "expected an array of events"),
            (Some(BodyForm::Lines), "one event per line"),
        ] {
            for body in ["", "  ", " \n"] {
                let error = form(body, declared).unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn the_number_of_events_is_bounded() {
        let events = |count: usize| vec!["1"; count];
        assert!(array(&format!("[{}]", events(MAX_EVENTS).join(","))).is_ok());
        assert!(matches!(array(&format!("[{}]", events(MAX_EVENTS + 1).join(","))), Err(RequestError::TooLarge(_))));
        assert!(matches!(lines(&events(MAX_EVENTS + 1).join("\n")), Err(RequestError::TooLarge(_))));
    }
}
