//! The common part of the SQL of all aggregates: the expressions that it is written over, and the reading of its
//! texts as values.

use super::FinishError;
use crate::decimal::{DecimalType, MAX_PRECISION};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// The SQL expressions from which an aggregate makes its own.
#[derive(Clone, Copy, Debug)]
pub struct SqlInput<'a> {
    /// The value of a row, which is not NULL.
    pub value: &'a str,
    /// The condition under which a row counts.
    pub counts: &'a str,
}

/// The error for a text that describes no state.
pub(super) fn unreadable(text: Option<&str>) -> FinishError {
    FinishError::Unreadable(text.unwrap_or("NULL").chars().take(60).collect())
}

/// The units of an exact number.
pub(super) fn units(kind: &ValueType, text: &str) -> Option<i128> {
    match kind {
        // A sum can have more digits than its addends.
        ValueType::Decimal(shape) => DecimalType { precision: MAX_PRECISION, scale: shape.scale }.parse(text).ok(),
        _ => text.parse().ok(),
    }
}

/// A value of the type.
pub(super) fn scalar(kind: &ValueType, text: &str) -> Option<Scalar<'static>> {
    Some(match kind {
        ValueType::Int64 | ValueType::Timestamp => Scalar::Int(text.parse().ok()?),
        ValueType::Float64 => Scalar::Float(text.parse().ok()?),
        ValueType::Decimal(_) => Scalar::Decimal(units(kind, text)?),
        ValueType::Bool => Scalar::Bool(text.parse().ok()?),
        ValueType::String | ValueType::Any => Scalar::Text(text.to_owned().into()),
        // ClickHouse writes the parts in its own way: 1 for 1.0.
        ValueType::List(_) | ValueType::Map(_) | ValueType::Vector(_) => Scalar::read(text, kind).ok()??.into_owned(),
    })
}
