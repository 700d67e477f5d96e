//! Instants in requests and answers. `core` parses them; here are the range that answers can express, and the errors.

use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value as Json;

use crate::error::RequestError;

/// The instants that RFC 3339 can express, epoch ms: those of years of four digits. An answer can express all of them.
const INSTANTS: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Parses the parameter `as_of`.
pub(crate) fn parse(text: &str) -> Result<i64, RequestError> {
    // In a query string a `+` stands for a space.
    let text = text.replace(' ', "+");
    match millrace_core::instant::parse(&text) {
        Some(ms) if INSTANTS.contains(&ms) => Ok(ms),
        Some(_) => Err(RequestError::invalid("as_of", "expected an instant of the years 0000 to 9999")),
        None => Err(expected()),
    }
}

/// Parses `as_of` of a JSON body, where milliseconds are a number.
pub(crate) fn parse_json(value: &Json) -> Result<i64, RequestError> {
    match value {
        Json::Number(number) => parse(&number.to_string()),
        Json::String(text) => parse(text),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => Err(expected()),
    }
}

/// Writes an instant in epoch ms as RFC 3339, to the millisecond and in UTC.
pub(crate) fn rfc3339(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |instant| instant.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn expected() -> RequestError {
    RequestError::invalid("as_of", "expected RFC 3339 or epoch milliseconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339_or_milliseconds() {
        assert_eq!(parse("1700000000000").unwrap(), 1_700_000_000_000);
        assert_eq!(parse("2023-11-14T22:13:20Z").unwrap(), 1_700_000_000_000);
        assert_eq!(parse("2023-11-14T23:13:20 01:00").unwrap(), 1_700_000_000_000);
        assert!(parse("yesterday").is_err());
        for bound in [INSTANTS.start(), INSTANTS.end()] {
            assert_eq!(parse(&bound.to_string()).unwrap(), *bound);
            assert_eq!(parse(&rfc3339(*bound)).unwrap(), *bound);
        }
        for beyond in ["253402300800000", "-62167219200001", "99999999999999999", "0000-01-01T00:00:00+23:59"] {
            assert!(parse(beyond).unwrap_err().to_string().contains("years 0000 to 9999"), "{beyond}");
        }
    }
}
