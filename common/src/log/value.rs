//! Takes the driver's values apart. Texts are moved, not copied.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use millrace_core::position::Position;
use redis::Value;

/// The elements of an array.
pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        Value::Map(pairs) => Some(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()),
        _ => None,
    }
}

/// A text.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number that is not negative.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

/// A stream id.
pub(super) fn position(value: &Value) -> Option<Position> {
    let bytes = match value {
        Value::BulkString(bytes) => bytes.as_slice(),
        Value::SimpleString(text) => text.as_bytes(),
        _ => return None,
    };
    position_text(bytes)
}

/// A stream id as bytes.
pub(super) fn position_text(bytes: &[u8]) -> Option<Position> {
    let dash = bytes.iter().position(|byte| *byte == b'-')?;
    Some(Position { ms: digits(&bytes[..dash])?, seq: digits(&bytes[dash + 1..])? })
}

/// Names and values in turn, as `HGETALL` and the `XINFO` commands answer.
pub(super) fn fields(value: Value) -> Option<Vec<(String, Value)>> {
    let mut items = array(value)?.into_iter();
    let mut fields = Vec::with_capacity(items.len() / 2);
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        fields.push((text(name)?, value));
    }
    Some(fields)
}

/// The fields of a hash.
pub(super) type HashFields = BTreeMap<String, String>;

/// The fields of a hash, as `HGETALL` answers.
pub(super) fn hash_fields(value: Value) -> Option<HashFields> {
    fields(value)?.into_iter().map(|(name, value)| Some((name, text(value)?))).collect()
}

/// The value of a field, if it is there and can be parsed.
pub(super) fn parsed<T: FromStr>(fields: &HashFields, name: &str) -> Option<T> {
    fields.get(name)?.parse().ok()
}

/// Every text anywhere in the reply.
pub(super) fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Array(items) | Value::Set(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Map(pairs) => pairs.iter().for_each(|(name, value)| {
            texts(name, into);
            texts(value, into);
        }),
        Value::BulkString(bytes) => into.extend(std::str::from_utf8(bytes).map(str::to_owned)),
        Value::SimpleString(text) => into.push(text.clone()),
        _ => {}
    }
}

/// A duration as Redis takes it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn digits(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_is_read_to_its_last_bit_or_refused() {
        let id = |text: &str| position(&Value::BulkString(text.as_bytes().to_vec()));
        assert_eq!(id("17-3"), Some(Position::new(17, 3)));
        assert_eq!(id("18446744073709551615-18446744073709551615"), Some(Position::new(u64::MAX, u64::MAX)));
        assert_eq!(id("18446744073709551616-0"), None);
        assert_eq!(id("17"), None);
        assert_eq!(id("-1"), None);
        assert_eq!(id("1-x"), None);
    }
}
