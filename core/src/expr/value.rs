//! One value of a row: what expressions take and return, and how it is written as text and as JSON.

use std::fmt;

use crate::decimal::Decimal;

/// A value. Numbers stay exact: nothing computes with floats.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprValue {
    /// Absent, empty in CSV, or null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fixed count of digits after the point.
    Decimal(Decimal),
    /// A float. It can only be compared with floats, written, or cast.
    Float(f64),
    /// Text.
    Text(String),
    /// Milliseconds since the epoch, UTC.
    Time(i64),
    /// The JSON text of a list or an object, passed on unchanged.
    Json(Box<str>),
}

impl ExprValue {
    /// Its kind, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "a whole number",
            Self::Decimal(_) => "a decimal",
            Self::Float(_) => "a float",
            Self::Text(_) => "text",
            Self::Time(_) => "a time",
            Self::Json(_) => "a list or object",
        }
    }

    /// Appends it as JSON. Decimals are strings, so that no reader changes them; times are epoch ms.
    pub fn write_json(&self, out: &mut String) {
        use std::fmt::Write;
        let written = match self {
            Self::Null => write!(out, "null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) | Self::Time(value) => write!(out, "{value}"),
            Self::Decimal(value) => write!(out, "\"{value}\""),
            Self::Float(value) if value.is_finite() => write!(out, "{value}"),
            Self::Float(_) => write!(out, "null"),
            Self::Text(text) => write!(out, "{}", serde_json::Value::from(text.as_str())),
            Self::Json(text) => write!(out, "{text}"),
        };
        debug_assert!(written.is_ok(), "a String takes any text");
    }
}

/// Its plain text, which `concat` and `text` use.
impl fmt::Display for ExprValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) | Self::Time(value) => value.fmt(f),
            Self::Decimal(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Json(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_every_digit() {
        let mut out = String::new();
        let decimal = ExprValue::Decimal(Decimal::parse("1.10").unwrap());
        for value in [decimal, ExprValue::Text("a\"b".into()), ExprValue::Int(-3), ExprValue::Json("[1.50]".into())] {
            value.write_json(&mut out);
            out.push(' ');
        }
        assert_eq!(out, r#""1.10" "a\"b" -3 [1.50] "#);
    }
}
