//! Reads a typed value from the JSON text of a property. Numbers are read from their text, never through a double, unless
//! the type is `float64`.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::value::Scalar;
use crate::decimal::InvalidDecimal;
use crate::definitions::ValueType;
use crate::instant;
use crate::json::kind_of;

/// The most items of a list, entries of a map.
const MAX_ITEMS: usize = 10_000;
/// The longest text that a view reads, in bytes. Aggregates hold the values that they read, some of them several times,
/// so a bound on each value bounds a slot ([`crate::codec::max_bytes`]).
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// The longest list or map that a view reads, in bytes of its JSON. The length of a vector follows from its type.
pub const MAX_NESTED_BYTES: usize = 64 * 1024;

/// Why a property cannot be read as its declared type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidValue {
    /// The value has another type.
    #[error("expected {expected}, got {got}")]
    WrongType {
        /// The declared type.
        expected: String,
        /// The beginning of the value, or its JSON type.
        got: String,
    },
    /// The value is not a decimal of the declared shape.
    #[error(transparent)]
    Decimal(#[from] InvalidDecimal),
    /// Too many items.
    #[error("more than {MAX_ITEMS} items")]
    TooLong,
    /// Too many bytes to be kept in feature state.
    #[error("{bytes} bytes; a view reads a {kind} of at most {most}")]
    TooLarge {
        /// The declared type.
        kind: String,
        /// The length of the value.
        bytes: usize,
        /// The largest length that is read.
        most: usize,
    },
}

impl<'a> Scalar<'a> {
    /// Reads a JSON text as `kind`. Null gives None, and so does an object that holds no value, because ClickHouse's JSON
    /// keeps nothing of it. Numbers may come as strings.
    pub fn read(text: &'a str, kind: &ValueType) -> Result<Option<Self>, InvalidValue> {
        let text = text.trim();
        if text == "null" {
            return Ok(None);
        }
        let wrong = || wrong_text(text, kind);
        let unquoted = unquote(text);
        let number = unquoted.as_deref().unwrap_or(text);
        let scalar = match kind {
            ValueType::Int64 => Self::Int(number.parse().map_err(|_| wrong())?),
            ValueType::Float64 => Self::Float(number.parse().ok().filter(|f: &f64| f.is_finite()).ok_or_else(wrong)?),
            ValueType::Decimal(shape) => Self::Decimal(shape.parse(number)?),
            ValueType::Bool => Self::Bool(bool_of(text).ok_or_else(wrong)?),
            ValueType::Timestamp => Self::Int(instant::parse(number).ok_or_else(wrong)?),
            ValueType::String => Self::Text(string(text, unquoted, kind)?),
            ValueType::Any if text.starts_with('{') => {
                let holds_something = has_leaf(&tree(text, kind)?);
                return Ok(holds_something.then_some(Self::Text(Cow::Borrowed(text))));
            }
            ValueType::Any => Self::Text(unquoted.unwrap_or(Cow::Borrowed(text))),
            ValueType::List(_) | ValueType::Map(_) => return container(text, kind, Some(MAX_NESTED_BYTES)),
            ValueType::Vector(_) => return container(text, kind, None),
        };
        Ok(Some(scalar))
    }
}

fn string<'a>(text: &'a str, unquoted: Option<Cow<'a, str>>, kind: &ValueType) -> Result<Cow<'a, str>, InvalidValue> {
    match unquoted {
        Some(string) => {
            check_length(string.len(), MAX_TEXT_BYTES, kind)?;
            Ok(string)
        }
        // An integer or truth value for a string property stands for its text, which has only one form.
        None if is_plain(text) => Ok(Cow::Borrowed(text)),
        None => Err(wrong_text(text, kind)),
    }
}

fn container<'a>(text: &str, kind: &ValueType, most_bytes: Option<usize>) -> Result<Option<Scalar<'a>>, InvalidValue> {
    let value = tree(text, kind)?;
    if !has_leaf(&value) {
        return Ok(None);
    }
    let canonical = nested(value, kind)?.to_string();
    if let Some(most) = most_bytes {
        check_length(canonical.len(), most, kind)?;
    }
    Ok(Some(Scalar::Json(Cow::Owned(canonical))))
}

fn check_length(bytes: usize, most: usize, kind: &ValueType) -> Result<(), InvalidValue> {
    if bytes <= most { Ok(()) } else { Err(InvalidValue::TooLarge { kind: kind.to_string(), bytes, most }) }
}

fn tree(text: &str, kind: &ValueType) -> Result<Json, InvalidValue> {
    serde_json::from_str(text).map_err(|_| wrong_text(text, kind))
}

fn bool_of(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Whether a JSON text is an integer or a truth value in its only form.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    matches!(text, "true" | "false") || (integer && (text == "0" || !digits.starts_with('0')))
}

/// Whether a value holds more than nested empty objects. A null entry is the same as an absent one.
fn has_leaf(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Object(entries) => entries.values().any(has_leaf),
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => true,
    }
}

/// The same value with each part in the one form of its declared type, so that equal values are equal texts.
fn nested(value: Json, kind: &ValueType) -> Result<Json, InvalidValue> {
    match (kind, value) {
        (ValueType::List(item), Json::Array(items)) => {
            check_count(items.len())?;
            let one = |value: Json| if value.is_null() { Ok(value) } else { nested(value, item) };
            items.into_iter().map(one).collect()
        }
        (ValueType::Map(item), Json::Object(entries)) => {
            check_count(entries.len())?;
            let entries = entries.into_iter().filter(|(_, value)| has_leaf(value));
            entries.map(|(name, value)| Ok((name, nested(value, item)?))).collect()
        }
        (ValueType::Vector(length), Json::Array(items)) => {
            if u32::try_from(items.len()) != Ok(*length) {
                return Err(wrong_type(format!("{} numbers", items.len()), kind));
            }
            items.into_iter().map(|value| nested(value, &ValueType::Float64)).collect()
        }
        (ValueType::List(_) | ValueType::Map(_) | ValueType::Vector(_), value) => {
            Err(wrong_type(kind_of(&value), kind))
        }
        (ValueType::String, value) if !value.is_string() => Err(wrong_type(kind_of(&value), kind)),
        (
            ValueType::Int64
            | ValueType::Float64
            | ValueType::Decimal(_)
            | ValueType::Bool
            | ValueType::Timestamp
            | ValueType::String
            | ValueType::Any,
            value,
        ) => match Scalar::read(&value.to_string(), kind)? {
            Some(scalar) => Ok(scalar.to_json(kind)),
            None => Err(wrong_type(kind_of(&value), kind)),
        },
    }
}

fn check_count(items: usize) -> Result<(), InvalidValue> {
    if items > MAX_ITEMS { Err(InvalidValue::TooLong) } else { Ok(()) }
}

fn wrong_text(text: &str, kind: &ValueType) -> InvalidValue {
    wrong_type(text.chars().take(60).collect::<String>(), kind)
}

fn wrong_type(got: impl Into<String>, kind: &ValueType) -> InvalidValue {
    InvalidValue::WrongType { expected: kind.to_string(), got: got.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kind: &str) -> Result<Option<Scalar<'static>>, InvalidValue> {
        let kind = kind.parse().unwrap();
        Scalar::read(text, &kind).map(|scalar| scalar.map(Scalar::into_owned))
    }

    #[test]
    fn numbers_may_come_as_strings_and_keep_every_digit() {
        assert_eq!(read("9007199254740993", "int64").unwrap(), Some(Scalar::Int(9_007_199_254_740_993)));
        assert_eq!(read("\"9007199254740993\"", "int64").unwrap(), Some(Scalar::Int(9_007_199_254_740_993)));
        assert_eq!(read("1.15", "decimal(18,2)").unwrap(), Some(Scalar::Decimal(115)));
        assert_eq!(read("\"1.15\"", "decimal(18,2)").unwrap(), Some(Scalar::Decimal(115)));
        assert!(read("1.5", "int64").is_err());
        assert!(read("\"x\"", "float64").is_err());
        assert!(read("\"inf\"", "float64").is_err());
    }

    #[test]
    fn null_is_absent() {
        for kind in ["int64", "string", "list<int64>", "bool"] {
            assert_eq!(read("null", kind).unwrap(), None);
        }
    }

    #[test]
    fn nested_values_are_checked() {
        assert!(read("[1,2]", "list<int64>").is_ok());
        assert!(read("[1,\"x\"]", "list<int64>").is_err());
        assert!(read("[1,2]", "vector(3)").is_err());
        assert!(read("{\"a\":1.5}", "map<string,float64>").is_ok());
        assert!(read("[1,null]", "vector(2)").is_err());
    }

    #[test]
    fn equal_nested_values_are_equal_texts() {
        let text = |text: &str, kind: &str| match read(text, kind).unwrap() {
            Some(Scalar::Json(text)) => text.into_owned(),
            other => panic!("expected a nested value, got {other:?}"),
        };
        assert_eq!(text("[1, 2.50, \"3\"]", "list<float64>"), "[1.0,2.5,3.0]");
        assert_eq!(text("[1.5, \"1.50\"]", "list<decimal(9,2)>"), "[\"1.50\",\"1.50\"]");
        assert_eq!(text("[1,null, \"2\"]", "list<int64>"), "[1,null,2]");
        assert_eq!(text("{\"a\":1,\"b\":null}", "map<string,int64>"), "{\"a\":1}");
        assert_eq!(text("{\"a\":{},\"b\":{\"c\":1}}", "map<string,map<string,int64>>"), "{\"b\":{\"c\":1}}");
    }

    #[test]
    fn a_text_has_one_form_and_a_value_that_holds_nothing_is_absent() {
        assert_eq!(read("12", "string").unwrap(), Some(Scalar::Text("12".into())));
        assert_eq!(read("true", "string").unwrap(), Some(Scalar::Text("true".into())));
        for text in ["1.5", "1e3", "-0", "01", "[1]", "{\"a\":1}"] {
            assert!(read(text, "string").is_err(), "{text}");
        }
        assert_eq!(read("{}", "map<string,int64>").unwrap(), None);
        let any = |text| Scalar::read(text, &ValueType::Any).map(|scalar| scalar.is_some());
        assert_eq!(any("{\"a\":{}}"), Ok(false));
        for text in ["{\"a\":[]}", "[]", "1.50", "\"\""] {
            assert_eq!(any(text), Ok(true), "{text}");
        }
    }

    #[test]
    fn the_length_of_a_value_is_bounded() {
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
        assert!(read(&text(MAX_TEXT_BYTES), "string").is_ok());
        let refused = read(&text(MAX_TEXT_BYTES + 1), "string").unwrap_err();
        assert_eq!(refused.to_string(), "16385 bytes; a view reads a string of at most 16384");
        // The bytes of the value count, not those of its JSON.
        assert!(read(&format!("\"{}\"", "\\u0041".repeat(MAX_TEXT_BYTES)), "string").is_ok());
        assert!(read(&format!("\"{}\"", "é".repeat(MAX_TEXT_BYTES)), "string").is_err());
        let list = |item: &str| format!("[{}]", vec![text(99); MAX_NESTED_BYTES / 102].join(item));
        assert!(read(&list(", "), "list<string>").is_ok(), "spaces do not count");
        assert!(read(&list(",\"xxx\","), "list<string>").is_err());
        assert!(read(&format!("[{}]", vec!["0.12345678901234567"; 8_192].join(",")), "vector(8192)").is_ok());
        // A value that is only counted is not kept.
        assert!(Scalar::read(&text(1_000_000), &ValueType::Any).is_ok());
    }
}
