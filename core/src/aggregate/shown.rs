//! How large a finished value can be in a document, which holds it in BSON.

use crate::definitions::ValueType;
use crate::scalar::{MAX_NESTED_BYTES, MAX_TEXT_BYTES};

/// The most bytes of BSON for one byte of JSON. The worst case is a long list of digits: the two bytes `1,` become a
/// type, an index of at most five digits, an end and a number of at most eight bytes, 15 bytes in all.
const BSON_PER_JSON: u64 = 8;

/// The most bytes of one value of the type.
pub(super) fn max_bytes(kind: &ValueType) -> u64 {
    match kind {
        ValueType::String => 8 + MAX_TEXT_BYTES as u64,
        ValueType::List(_) | ValueType::Map(_) => 8 + BSON_PER_JSON * MAX_NESTED_BYTES as u64,
        ValueType::Vector(length) => 8 + 16 * u64::from(*length),
        // A decimal of more than 34 digits is a text.
        ValueType::Int64
        | ValueType::Float64
        | ValueType::Decimal(_)
        | ValueType::Bool
        | ValueType::Timestamp
        | ValueType::Any => 64,
    }
}
