//! The types that feature values have, and their names in definitions.

use std::fmt;
use std::str::FromStr;

use crate::decimal::{DecimalType, MAX_PRECISION};

/// A value's type, as CONTRACTS names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A signed 64-bit integer.
    Int64,
    /// An IEEE 754 double.
    Float64,
    /// An exact decimal.
    Decimal(DecimalType),
    /// UTF-8 text.
    String,
    /// True or false.
    Bool,
    /// Milliseconds since the epoch, UTC.
    Timestamp,
    /// A list.
    List(Box<ValueType>),
    /// A bounded map from text.
    Map(Box<ValueType>),
    /// An embedding of this many 32-bit floats.
    Vector(u32),
    /// Any type: a `count` of a property without a declared type reads this. Definitions cannot name it.
    Any,
}

/// A text does not name a type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a type; expected int64, float64, decimal(p,s), string, bool, timestamp, list<T>, map<string,T> or vector(n)"
)]
pub struct InvalidType(pub String);

impl ValueType {
    /// Whether values can be added up.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::Int64 | Self::Float64 | Self::Decimal(_))
    }

    /// Whether a value is one plain thing, not a list, map or vector.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_) | Self::Vector(_))
    }
}

impl FromStr for ValueType {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, InvalidType> {
        let invalid = || InvalidType(text.to_owned());
        let text = text.trim();
        let inside = |prefix: &str, close: char| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(close));
        Ok(match text {
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "string" => Self::String,
            "bool" => Self::Bool,
            "timestamp" => Self::Timestamp,
            _ => {
                if let Some(shape) = inside("decimal(", ')') {
                    let (precision, scale) = shape.split_once(',').ok_or_else(invalid)?;
                    let number = |digits: &str| digits.trim().parse::<u8>().map_err(|_| invalid());
                    let (precision, scale) = (number(precision)?, number(scale)?);
                    if precision == 0 || precision > MAX_PRECISION || scale > precision {
                        return Err(invalid());
                    }
                    Self::Decimal(DecimalType { precision, scale })
                } else if let Some(item) = inside("list<", '>') {
                    Self::List(Box::new(item.parse()?))
                } else if let Some(item) = inside("map<string,", '>') {
                    Self::Map(Box::new(item.parse()?))
                } else if let Some(length) = inside("vector(", ')') {
                    Self::Vector(length.trim().parse().ok().filter(|n| (1..=65_536).contains(n)).ok_or_else(invalid)?)
                } else {
                    return Err(invalid());
                }
            }
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int64 => f.write_str("int64"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal(shape) => shape.fmt(f),
            Self::String => f.write_str("string"),
            Self::Bool => f.write_str("bool"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Map(item) => write!(f, "map<string,{item}>"),
            Self::Vector(length) => write!(f, "vector({length})"),
            Self::Any => f.write_str("any"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["int64", "decimal(18,2)", "list<string>", "map<string,float64>", "vector(384)", "timestamp"] {
            assert_eq!(name.parse::<ValueType>().unwrap().to_string(), name);
        }
        for name in ["int", "decimal(39,2)", "decimal(2,3)", "vector(0)", "list<x>"] {
            assert!(name.parse::<ValueType>().is_err(), "{name}");
        }
    }
}
