//! Entity keys and their canonical text, the form in which a key is hashed, stored and compared everywhere.

use std::fmt;
use std::sync::Arc;

/// The longest canonical text, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// The type of one part of an entity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A signed 64-bit integer; canonical text is its decimal digits.
    Int64,
    /// Any text; canonical text percent-encodes `% { } : | , /` and control characters.
    String,
}

/// The canonical text of an entity key: parts joined by `,` in declared order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyText(Arc<str>);

/// Why a value is no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// The text is not a 64-bit integer.
    #[error("expected a 64-bit integer, got `{0}`")]
    NotAnInteger(String),
    /// The JSON value is neither a number nor a string.
    #[error("expected {expected}, got {got}")]
    WrongType {
        /// What the entity declares.
        expected: &'static str,
        /// What came.
        got: &'static str,
    },
    /// Nothing between two commas, or an empty string.
    #[error("a key must not be empty")]
    Empty,
    /// Too long.
    #[error("a key must not be longer than {MAX_KEY_BYTES} bytes in its canonical form")]
    TooLong,
    /// A composite key with another number of parts than declared.
    #[error("expected {expected} parts joined by `,`, got {got}")]
    WrongParts {
        /// Declared.
        expected: usize,
        /// Given.
        got: usize,
    },
    /// A `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8.
    #[error("`{0}` is not percent-encoded correctly")]
    BadEncoding(String),
}

impl KeyText {
    /// Takes a text that is canonical already (from a store that we wrote).
    pub fn from_canonical(text: &str) -> Self {
        Self(text.into())
    }

    /// Builds a key from the values of its parts, in declared order.
    pub fn from_parts(parts: &[(KeyType, &serde_json::Value)]) -> Result<Self, InvalidKey> {
        let mut text = String::new();
        for (index, (kind, value)) in parts.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            push_part(&mut text, *kind, value)?;
        }
        Self::bounded(&text)
    }

    /// Reads what a person or a URL gives: parts joined by `,`; a string part may be percent-encoded.
    /// The result is canonical, whatever spelling came in (`007` is `7`).
    pub fn parse(types: &[KeyType], text: &str) -> Result<Self, InvalidKey> {
        let parts: Vec<&str> = if types.len() == 1 { vec![text] } else { text.split(',').collect() };
        if parts.len() != types.len() {
            return Err(InvalidKey::WrongParts { expected: types.len(), got: parts.len() });
        }
        let mut canonical = String::new();
        for (index, (kind, part)) in types.iter().zip(parts).enumerate() {
            if index > 0 {
                canonical.push(',');
            }
            match kind {
                KeyType::Int64 => push_int(&mut canonical, part)?,
                KeyType::String => push_escaped(&mut canonical, &percent_decode(part)?)?,
            }
        }
        Self::bounded(&canonical)
    }

    /// Whether [`KeyText::parse`] would leave the text as it is. Asked of every entry, so it copies nothing of a plain
    /// key.
    pub fn is_canonical(mut types: impl ExactSizeIterator<Item = KeyType>, text: &str) -> bool {
        if text.len() > MAX_KEY_BYTES {
            return false;
        }
        if types.len() == 1 {
            return types.all(|kind| is_canonical_part(kind, text));
        }
        let mut parts = text.split(',');
        types.all(|kind| parts.next().is_some_and(|part| is_canonical_part(kind, part))) && parts.next().is_none()
    }

    /// The parts, decoded: what the key columns of ClickHouse hold.
    pub fn parts(&self) -> Vec<String> {
        self.0.split(',').map(|part| percent_decode(part).unwrap_or_else(|_| part.to_owned())).collect()
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn bounded(text: &str) -> Result<Self, InvalidKey> {
        if text.len() > MAX_KEY_BYTES { Err(InvalidKey::TooLong) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::borrow::Borrow<str> for KeyText {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn push_part(text: &mut String, kind: KeyType, value: &serde_json::Value) -> Result<(), InvalidKey> {
    use serde_json::Value;
    match (kind, value) {
        (KeyType::Int64, Value::Number(number)) => match number.as_i64() {
            Some(int) => {
                text.push_str(&int.to_string());
                Ok(())
            }
            None => Err(InvalidKey::NotAnInteger(number.to_string())),
        },
        (KeyType::Int64, Value::String(digits)) => push_int(text, digits),
        (KeyType::String, Value::String(part)) => push_escaped(text, part),
        (KeyType::Int64, other) => Err(InvalidKey::WrongType { expected: "a 64-bit integer", got: kind_of(other) }),
        (KeyType::String, other) => Err(InvalidKey::WrongType { expected: "a string", got: kind_of(other) }),
    }
}

fn push_int(text: &mut String, digits: &str) -> Result<(), InvalidKey> {
    let int: i64 = digits.parse().map_err(|_| InvalidKey::NotAnInteger(digits.to_owned()))?;
    text.push_str(&int.to_string());
    Ok(())
}

fn is_canonical_part(kind: KeyType, part: &str) -> bool {
    match kind {
        KeyType::Int64 => {
            let digits = part.strip_prefix('-').unwrap_or(part);
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !digits.starts_with('0'));
            plain && part.parse::<i64>().is_ok()
        }
        KeyType::String if part.contains('%') => percent_decode(part).is_ok_and(|decoded| {
            let mut escaped = String::new();
            push_escaped(&mut escaped, &decoded).is_ok() && escaped == part
        }),
        KeyType::String => !part.is_empty() && !part.chars().any(is_escaped),
    }
}

/// Whether a character could be meant as a separator somewhere.
fn is_escaped(c: char) -> bool {
    matches!(c, '%' | '{' | '}' | ':' | '|' | ',' | '/') || c.is_control()
}

fn push_escaped(text: &mut String, part: &str) -> Result<(), InvalidKey> {
    if part.is_empty() {
        return Err(InvalidKey::Empty);
    }
    for c in part.chars() {
        if is_escaped(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                text.push_str(&format!("%{byte:02X}"));
            }
        } else {
            text.push(c);
        }
    }
    Ok(())
}

fn percent_decode(part: &str) -> Result<String, InvalidKey> {
    if !part.contains('%') {
        return Ok(part.to_owned());
    }
    let bad = || InvalidKey::BadEncoding(part.to_owned());
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (rest.next().and_then(hex), rest.next().and_then(hex)) else {
            return Err(bad());
        };
        bytes.push(high * 16 + low);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The JSON type of a value, for error messages.
pub(crate) fn kind_of(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(kind: KeyType, value: serde_json::Value) -> Result<String, InvalidKey> {
        KeyText::from_parts(&[(kind, &value)]).map(|key| key.to_string())
    }

    #[test]
    fn integers_are_decimal_whatever_their_spelling() {
        assert_eq!(one(KeyType::Int64, json!(7)).unwrap(), "7");
        assert_eq!(one(KeyType::Int64, json!("007")).unwrap(), "7");
        assert_eq!(one(KeyType::Int64, json!(-3)).unwrap(), "-3");
        assert!(one(KeyType::Int64, json!(1.5)).is_err());
        assert!(one(KeyType::Int64, json!("17850.0")).is_err());
    }

    #[test]
    fn strings_are_percent_encoded_where_a_separator_could_be_meant() {
        assert_eq!(one(KeyType::String, json!("a/b:{c}|d,%\n")).unwrap(), "a%2Fb%3A%7Bc%7D%7Cd%2C%25%0A");
        assert_eq!(one(KeyType::String, json!("Zoë")).unwrap(), "Zoë");
        assert_eq!(one(KeyType::String, json!("")), Err(InvalidKey::Empty));
    }

    #[test]
    fn a_composite_key_joins_its_parts_in_declared_order() {
        let key = KeyText::from_parts(&[(KeyType::String, &json!("x,y")), (KeyType::Int64, &json!(4))]).unwrap();
        assert_eq!(key.as_str(), "x%2Cy,4");
        assert_eq!(key.parts(), ["x,y", "4"]);
        assert_eq!(KeyText::parse(&[KeyType::String, KeyType::Int64], "x%2Cy,04").unwrap(), key);
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_canonical_iff_reading_it_changes_nothing(
            text in proptest::string::string_regex("[-+0-9]{0,20}|[a-b0-1,%2cC4:/é\\n-]{0,6}|0?[0-9]{1,3},[a-c]{0,2}").unwrap(),
        ) {
            use KeyType::{Int64, String};
            for types in [&[Int64][..], &[String], &[Int64, String], &[String, String, Int64]] {
                let same = KeyText::parse(types, &text).is_ok_and(|key| key.as_str() == text);
                proptest::prop_assert_eq!(KeyText::is_canonical(types.iter().copied(), &text), same);
            }
        }
    }

    #[test]
    fn a_key_is_at_most_256_bytes() {
        assert!(one(KeyType::String, json!("a".repeat(256))).is_ok());
        assert_eq!(one(KeyType::String, json!("a".repeat(257))), Err(InvalidKey::TooLong));
    }
}
