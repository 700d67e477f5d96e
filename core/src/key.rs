//! Entity keys and their canonical text, the form in which a key is hashed, stored and compared everywhere.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::json::kind_of;
use crate::percent;

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

/// Why a value is not a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// The text is not a 64-bit integer.
    #[error("expected a 64-bit integer, got `{0}`")]
    NotAnInteger(String),
    /// The JSON value is neither a number nor a string.
    #[error("expected {expected}, got {got}")]
    WrongType {
        /// The declared type.
        expected: &'static str,
        /// The type that came.
        got: &'static str,
    },
    /// An empty string, or nothing between two commas.
    #[error("a key must not be empty")]
    Empty,
    /// Too long.
    #[error("a key must not be longer than {MAX_KEY_BYTES} bytes in its canonical form")]
    TooLong,
    /// A composite key with another number of parts than declared.
    #[error("expected {expected} parts joined by `,`, got {got}")]
    WrongParts {
        /// The declared number.
        expected: usize,
        /// The given number.
        got: usize,
    },
    /// A `%` without two hexadecimal digits behind it, or bytes that are not UTF-8.
    #[error("`{0}` is not percent-encoded correctly")]
    BadEncoding(String),
}

impl KeyText {
    /// Takes a text that is canonical already, such as one from a store that Millrace wrote.
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

    /// Reads a key as a person or a URL gives it: parts joined by `,`; a string part may be percent-encoded. The result is
    /// canonical (`007` becomes `7`).
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
                KeyType::String => push_escaped(&mut canonical, &decode_part(part)?)?,
            }
        }
        Self::bounded(&canonical)
    }

    /// Whether [`KeyText::parse`] would return the text unchanged. Runs for every entry, so it copies nothing of a plain
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

    /// The parts, decoded, as the key columns of ClickHouse hold them.
    pub fn parts(&self) -> Vec<String> {
        self.0
            .split(',')
            .map(|part| percent::decode_strict(part).map_or_else(|| part.to_owned(), Cow::into_owned))
            .collect()
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
        KeyType::String if part.contains('%') => percent::decode_strict(part).is_some_and(|decoded| {
            let mut escaped = String::new();
            push_escaped(&mut escaped, &decoded).is_ok() && escaped == part
        }),
        KeyType::String => !part.is_empty() && !part.chars().any(is_escaped),
    }
}

/// Whether a character is a separator in a key, a URL or a Redis key.
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

fn decode_part(part: &str) -> Result<Cow<'_, str>, InvalidKey> {
    percent::decode_strict(part).ok_or_else(|| InvalidKey::BadEncoding(part.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(kind: KeyType, value: serde_json::Value) -> Result<String, InvalidKey> {
        KeyText::from_parts(&[(kind, &value)]).map(|key| key.to_string())
    }

    #[test]
    fn integers_are_decimal_in_every_spelling() {
        assert_eq!(one(KeyType::Int64, json!(7)).unwrap(), "7");
        assert_eq!(one(KeyType::Int64, json!("007")).unwrap(), "7");
        assert_eq!(one(KeyType::Int64, json!(-3)).unwrap(), "-3");
        assert!(one(KeyType::Int64, json!(1.5)).is_err());
        assert!(one(KeyType::Int64, json!("17850.0")).is_err());
    }

    #[test]
    fn separators_in_strings_are_percent_encoded() {
        assert_eq!(one(KeyType::String, json!("a/b:{c}|d,%\n")).unwrap(), "a%2Fb%3A%7Bc%7D%7Cd%2C%25%0A");
        assert_eq!(one(KeyType::String, json!("Zoë")).unwrap(), "Zoë");
        assert_eq!(one(KeyType::String, json!("")), Err(InvalidKey::Empty));
    }

    #[test]
    fn canonical_texts_never_change() {
        let golden = [
            (KeyType::Int64, json!(-9_223_372_036_854_775_808i64), "-9223372036854775808"),
            (KeyType::Int64, json!("-0"), "0"),
            (KeyType::Int64, json!("+5"), "5"),
            (KeyType::String, json!("% { } : | , /"), "%25 %7B %7D %3A %7C %2C %2F"),
            (KeyType::String, json!("\u{0}\t\u{7f}\u{85}\u{2028}"), "%00%09%7F%C2%85\u{2028}"),
            (KeyType::String, json!("a+b;c=d&e?f#g@h~i\\j\"k'l<m>n[o]"), "a+b;c=d&e?f#g@h~i\\j\"k'l<m>n[o]"),
            (KeyType::String, json!("Zoë 😀"), "Zoë 😀"),
        ];
        for (kind, value, text) in golden {
            assert_eq!(one(kind, value).as_deref(), Ok(text));
        }
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
