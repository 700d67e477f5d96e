//! A scalar as bytes: a tag for its kind, then the value.

use std::borrow::Cow;

use super::{DecodeError, LONG_NUMBER_BYTES, NUMBER_BYTES, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::{MAX_NESTED_BYTES, MAX_TEXT_BYTES, Scalar};

const INT: u8 = 0;
const FLOAT: u8 = 1;
const DECIMAL: u8 = 2;
const BOOL: u8 = 3;
const TEXT: u8 = 4;
const JSON: u8 = 5;

/// The longest text of a float, with the comma after it.
const FLOAT_TEXT_BYTES: u64 = 25;

pub(crate) fn write_scalar(writer: &mut Writer, scalar: &Scalar<'_>) {
    match scalar {
        Scalar::Int(value) => {
            writer.byte(INT);
            writer.signed(i128::from(*value));
        }
        Scalar::Float(value) => {
            writer.byte(FLOAT);
            writer.fixed(&value.to_le_bytes());
        }
        Scalar::Decimal(units) => {
            writer.byte(DECIMAL);
            writer.signed(*units);
        }
        Scalar::Bool(value) => writer.fixed(&[BOOL, u8::from(*value)]),
        Scalar::Text(text) => {
            writer.byte(TEXT);
            writer.text(text);
        }
        Scalar::Json(text) => {
            writer.byte(JSON);
            writer.text(text);
        }
    }
}

pub(crate) fn read_scalar(reader: &mut Reader<'_>) -> Result<Scalar<'static>, DecodeError> {
    Ok(match reader.byte()? {
        INT => Scalar::Int(reader.signed64()?),
        FLOAT => Scalar::Float(f64::from_le_bytes(reader.fixed()?)),
        DECIMAL => Scalar::Decimal(reader.signed()?),
        BOOL => Scalar::Bool(reader.byte()? != 0),
        TEXT => Scalar::Text(Cow::Owned(reader.text()?.to_owned())),
        JSON => Scalar::Json(Cow::Owned(reader.text()?.to_owned())),
        _ => return Err(reader.invalid("value")),
    })
}

pub(crate) fn skip_scalar(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.byte()? {
        INT | DECIMAL => reader.skip_numbers(1),
        FLOAT => reader.skip(8),
        BOOL => reader.skip(1),
        TEXT | JSON => reader.skip_text(),
        _ => Err(reader.invalid("value")),
    }
}

/// The most bytes of one value of the type, with its tag and length.
pub(crate) fn max_scalar_bytes(kind: &ValueType) -> u64 {
    let text = |bytes: u64| 1 + NUMBER_BYTES + bytes;
    match kind {
        ValueType::Int64 | ValueType::Timestamp | ValueType::Float64 => 1 + NUMBER_BYTES,
        ValueType::Decimal(_) => 1 + LONG_NUMBER_BYTES,
        ValueType::Bool => 2,
        ValueType::String => text(MAX_TEXT_BYTES as u64),
        ValueType::List(_) | ValueType::Map(_) => text(MAX_NESTED_BYTES as u64),
        ValueType::Vector(length) => text(2 + FLOAT_TEXT_BYTES * u64::from(*length)),
        // Such a value is counted and not kept.
        ValueType::Any => 0,
    }
}
