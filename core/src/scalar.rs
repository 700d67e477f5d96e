//! One typed value: what a feature reads from an event's JSON, and how a finished value is written for readers.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;

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

/// A value as an aggregate takes it. Its type is the declared type of the aggregate's input.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `int64`, and `timestamp` in epoch ms.
    Int(i64),
    /// `float64`.
    Float(f64),
    /// `decimal`, in units of its scale.
    Decimal(i128),
    /// `bool`.
    Bool(bool),
    /// `string`.
    Text(Cow<'a, str>),
    /// `list`, `map` and `vector`, as JSON in which each value has the one form of its declared type.
    Json(Cow<'a, str>),
}

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
        let wrong = || InvalidValue::WrongType { expected: kind.to_string(), got: text.chars().take(60).collect() };
        let bounded = |bytes: usize, most: usize| {
            if bytes <= most { Ok(()) } else { Err(InvalidValue::TooLarge { kind: kind.to_string(), bytes, most }) }
        };
        let unquoted = unquote(text);
        let number = unquoted.as_deref().unwrap_or(text);
        Ok(Some(match kind {
            ValueType::Int64 => Self::Int(number.parse().map_err(|_| wrong())?),
            ValueType::Float64 => Self::Float(number.parse().ok().filter(|f: &f64| f.is_finite()).ok_or_else(wrong)?),
            ValueType::Decimal(shape) => Self::Decimal(shape.parse(number)?),
            ValueType::Bool => match text {
                "true" => Self::Bool(true),
                "false" => Self::Bool(false),
                _ => return Err(wrong()),
            },
            ValueType::Timestamp => Self::Int(instant::parse(number).ok_or_else(wrong)?),
            ValueType::String => match unquoted {
                Some(string) => {
                    bounded(string.len(), MAX_TEXT_BYTES)?;
                    Self::Text(string)
                }
                // An integer or truth value for a string property stands for its text, which has only one form.
                None if is_plain(text) => Self::Text(Cow::Borrowed(text)),
                None => return Err(wrong()),
            },
            ValueType::Any if text.starts_with('{') => {
                let value: Json = serde_json::from_str(text).map_err(|_| wrong())?;
                return Ok(has_leaf(&value).then_some(Self::Text(Cow::Borrowed(text))));
            }
            ValueType::Any => Self::Text(unquoted.unwrap_or(Cow::Borrowed(text))),
            ValueType::List(_) | ValueType::Map(_) | ValueType::Vector(_) => {
                let value: Json = serde_json::from_str(text).map_err(|_| wrong())?;
                if !has_leaf(&value) {
                    return Ok(None);
                }
                let canonical = nested(value, kind)?.to_string();
                if !matches!(kind, ValueType::Vector(_)) {
                    bounded(canonical.len(), MAX_NESTED_BYTES)?;
                }
                Self::Json(Cow::Owned(canonical))
            }
        }))
    }

    /// The same value, owning its text.
    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Int(v) => Scalar::Int(v),
            Self::Float(v) => Scalar::Float(v),
            Self::Decimal(v) => Scalar::Decimal(v),
            Self::Bool(v) => Scalar::Bool(v),
            Self::Text(v) => Scalar::Text(Cow::Owned(v.into_owned())),
            Self::Json(v) => Scalar::Json(Cow::Owned(v.into_owned())),
        }
    }

    /// A total order among values of one type: by number, or by bytes.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) | (Self::Json(a), Self::Json(b)) => a.as_bytes().cmp(b.as_bytes()),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    /// The value as JSON for readers. Decimals, and integers that a double cannot hold exactly, are strings.
    pub fn to_json(&self, kind: &ValueType) -> Json {
        match (self, kind) {
            (Self::Int(v), _) => int_json(i128::from(*v)),
            (Self::Float(v), _) => serde_json::Number::from_f64(*v).map_or(Json::Null, Json::Number),
            (Self::Decimal(v), ValueType::Decimal(shape)) => Json::String(shape.format(*v)),
            (Self::Decimal(v), _) => int_json(*v),
            (Self::Bool(v), _) => Json::Bool(*v),
            (Self::Text(v), _) => Json::String(v.to_string()),
            (Self::Json(v), _) => serde_json::from_str(v).unwrap_or(Json::Null),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Int(_) => 0,
            Self::Float(_) => 1,
            Self::Decimal(_) => 2,
            Self::Bool(_) => 3,
            Self::Text(_) => 4,
            Self::Json(_) => 5,
        }
    }
}

/// An integer as JSON: a number up to 2^53, a string beyond.
pub fn int_json(value: i128) -> Json {
    const EXACT: i128 = 1 << 53;
    match i64::try_from(value) {
        Ok(small) if (-EXACT..=EXACT).contains(&value) => Json::Number(small.into()),
        Ok(_) | Err(_) => Json::String(value.to_string()),
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
    let wrong = |value: &Json| InvalidValue::WrongType { expected: kind.to_string(), got: kind_of(value).to_owned() };
    match (kind, value) {
        (ValueType::List(item), Json::Array(items)) => {
            if items.len() > MAX_ITEMS {
                return Err(InvalidValue::TooLong);
            }
            let one = |value: Json| if value.is_null() { Ok(value) } else { nested(value, item) };
            items.into_iter().map(one).collect()
        }
        (ValueType::Map(item), Json::Object(entries)) => {
            if entries.len() > MAX_ITEMS {
                return Err(InvalidValue::TooLong);
            }
            let entries = entries.into_iter().filter(|(_, value)| has_leaf(value));
            entries.map(|(name, value)| Ok((name, nested(value, item)?))).collect()
        }
        (ValueType::Vector(length), Json::Array(items)) => {
            if u32::try_from(items.len()) != Ok(*length) {
                let got = format!("{} numbers", items.len());
                return Err(InvalidValue::WrongType { expected: kind.to_string(), got });
            }
            items.into_iter().map(|value| nested(value, &ValueType::Float64)).collect()
        }
        (ValueType::List(_) | ValueType::Map(_) | ValueType::Vector(_), value) => Err(wrong(&value)),
        (ValueType::String, value) if !value.is_string() => Err(wrong(&value)),
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
            None => Err(wrong(&value)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::DecimalType;

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

    #[test]
    fn numbers_that_a_double_cannot_hold_are_written_as_text() {
        let money = ValueType::Decimal(DecimalType { precision: 18, scale: 2 });
        assert_eq!(Scalar::Decimal(1250).to_json(&money), "12.50");
        assert_eq!(Scalar::Int(1 << 53).to_json(&ValueType::Int64), 1i64 << 53);
        assert_eq!(Scalar::Int((1 << 53) + 1).to_json(&ValueType::Int64), "9007199254740993");
    }
}
