//! Sums of numbers: exact for integers and decimals, floats for floats. `sum` and `mean` keep one.

use serde_json::Value as Json;

use super::{SqlInput, WrongKind, sql};
use crate::bytes::{DecodeError, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// A running total.
#[derive(Clone, Debug, PartialEq)]
pub enum Total {
    /// Of integers, or of units of a decimal.
    Exact(i128),
    /// Of floats.
    Float(f64),
}

/// The tags of a state that begins with a total.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tags {
    pub(super) exact: u8,
    pub(super) float: u8,
}

impl Total {
    pub(super) fn zero(kind: &ValueType) -> Self {
        if *kind == ValueType::Float64 { Self::Float(0.0) } else { Self::Exact(0) }
    }

    pub(super) fn add(&mut self, value: &Scalar<'_>) -> Result<(), WrongKind> {
        match (self, value) {
            (Self::Exact(total), Scalar::Int(value)) => *total = total.saturating_add(i128::from(*value)),
            (Self::Exact(total), Scalar::Decimal(units)) => *total = total.saturating_add(*units),
            (Self::Float(total), Scalar::Float(value)) => *total += value,
            (Self::Exact(_) | Self::Float(_), _) => return Err(WrongKind),
        }
        Ok(())
    }

    pub(super) fn join(&mut self, other: &Self) -> Result<(), WrongKind> {
        match (self, other) {
            (Self::Exact(total), Self::Exact(other)) => *total = total.saturating_add(*other),
            (Self::Float(total), Self::Float(other)) => *total += other,
            (Self::Exact(_), Self::Float(_)) | (Self::Float(_), Self::Exact(_)) => return Err(WrongKind),
        }
        Ok(())
    }

    /// The total as a float; units of a decimal become a number.
    pub(super) fn to_f64(&self, kind: &ValueType) -> f64 {
        match (self, kind) {
            (Self::Float(total), _) => *total,
            (Self::Exact(units), ValueType::Decimal(shape)) => shape.to_f64(*units),
            #[expect(clippy::cast_precision_loss, reason = "a float is asked for")]
            (Self::Exact(total), _) => *total as f64,
        }
    }

    pub(super) fn write(&self, tags: Tags, writer: &mut Writer) {
        match self {
            Self::Exact(total) => {
                writer.byte(tags.exact);
                writer.signed(*total);
            }
            Self::Float(total) => {
                writer.byte(tags.float);
                writer.fixed(&total.to_le_bytes());
            }
        }
    }

    /// Reads a total of values of the type. A total of the other kind is of another shape.
    pub(super) fn read(tags: Tags, kind: &ValueType, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let float = *kind == ValueType::Float64;
        match reader.byte()? {
            tag if tag == tags.exact && !float => Ok(Self::Exact(reader.signed()?)),
            tag if tag == tags.float && float => Ok(Self::Float(f64::from_le_bytes(reader.fixed()?))),
            _ => Err(DecodeError::WrongShape),
        }
    }

    pub(super) fn skip(tags: Tags, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match reader.byte()? {
            tag if tag == tags.exact => reader.skip_numbers(1),
            tag if tag == tags.float => reader.skip(8),
            _ => Err(DecodeError::WrongShape),
        }
    }

    pub(super) fn from_sql(kind: &ValueType, text: &str) -> Option<Self> {
        Some(match kind {
            ValueType::Float64 => Self::Float(text.parse().ok()?),
            _ => Self::Exact(sql::units(kind, text)?),
        })
    }
}

/// The total in SQL. A sum of 64-bit integers can pass 64 bits.
pub(super) fn sql_total(kind: &ValueType, input: &SqlInput<'_>) -> String {
    let SqlInput { value, counts } = input;
    match kind {
        ValueType::Int64 => format!("sumIf(toInt128({value}), {counts})"),
        _ => format!("sumIf({value}, {counts})"),
    }
}

/// A float as JSON; null where JSON has no number for it.
pub(super) fn float_json(value: f64) -> Json {
    serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number)
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "a float is asked for")]
pub(super) fn count_to_f64(count: u64) -> f64 {
    count as f64
}
