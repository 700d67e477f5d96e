//! How large a slot can become, from its view alone. Values are bounded where they are read and what is kept of them by
//! the definition, so no order, no batch and no redelivery makes a slot larger than this.

use crate::aggregate::MAX_DISTINCT;
use crate::definitions::{Aggregation, Feature, ValueType, View, Window};
use crate::event::MAX_NAME_BYTES;
use crate::scalar::{MAX_NESTED_BYTES, MAX_TEXT_BYTES};

use super::HEADER_BYTES;

/// The largest slot that a view may come to: half of what Redis takes as one value.
pub const MAX_SLOT_BYTES: u64 = 256 * 1024 * 1024;
/// The largest profile that a view may come to. MongoDB refuses documents past 16 MiB; a command around one needs a
/// little too.
pub const MAX_DOCUMENT_BYTES: u64 = 16 * 1024 * 1024 - 64 * 1024;

/// A 64-bit number as bytes, a length included.
const NUMBER: u64 = 10;
/// A 128-bit number as bytes.
const LONG_NUMBER: u64 = 19;
/// The longest text of a float, and what stands between two.
const FLOAT_TEXT: u64 = 25;
/// The stamp of a held value: feature time, event id, position, partition.
const STAMP: u64 = 5 * NUMBER + MAX_NAME_BYTES as u64;
/// What BSON makes of a byte of JSON at worst: `1,` is a type, an index of four digits, an end and eight bytes.
const BSON_PER_JSON: u64 = 8;
/// What stands around each shown value: its name's type and end, `value`, `timestamp`, `version`, perhaps `error`.
const AROUND_VALUE: u64 = 256;
/// Key, metadata and checkpoint of a document.
const AROUND_DOCUMENT: u64 = 2_048;

/// The most bytes that [`super::encode`] makes of a slot of the view.
pub fn max_bytes(view: &View) -> u64 {
    let state = |index: &usize| {
        let feature = &view.features[*index];
        state(feature.aggregation, input(view, feature))
    };
    let windows = view.windows.iter().map(|spec| {
        let tile: u64 = spec.features.iter().map(state).sum();
        (tile + 3 * NUMBER).saturating_mul(tiles(spec.window)).saturating_add(3 * NUMBER)
    });
    windows.fold(HEADER_BYTES as u64 + 3 * NUMBER, u64::saturating_add)
}

/// The most bytes of a view's document: the state, and each value as people read it.
pub fn max_document_bytes(view: &View) -> u64 {
    let shown = |feature: &Feature| {
        let value = match feature.aggregation {
            Aggregation::LastN(n) => (shown(input(view, feature)) + NUMBER).saturating_mul(u64::from(n)),
            _ => shown(&feature.value_type),
        };
        value.saturating_add(feature.name.len() as u64 + AROUND_VALUE)
    };
    view.features.iter().map(shown).fold(max_bytes(view).saturating_add(AROUND_DOCUMENT), u64::saturating_add)
}

/// What the feature reads; a `count` of entries keeps nothing of it.
fn input<'v>(view: &'v View, feature: &Feature) -> &'v ValueType {
    feature.input.map_or(&ValueType::Bool, |input| &view.inputs[input].1)
}

/// How many tiles a window holds at once.
fn tiles(window: Window) -> u64 {
    let count = match window {
        Window::Lifetime => 1,
        Window::Sliding { size, hop } => size / hop.max(1) + 2,
        // They end more than a gap apart, and no earlier than `lateness` and a gap before the newest.
        Window::Session { gap, lateness } => lateness / gap.max(1) + 3,
    };
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn state(aggregation: Aggregation, input: &ValueType) -> u64 {
    let held = STAMP + value(input);
    1 + match aggregation {
        Aggregation::Count => NUMBER,
        Aggregation::Sum | Aggregation::Mean => LONG_NUMBER + NUMBER,
        Aggregation::Min | Aggregation::Max => 1 + value(input),
        Aggregation::First | Aggregation::Last => 1 + held,
        Aggregation::LastN(n) => held.saturating_mul(u64::from(n)).saturating_add(NUMBER),
        Aggregation::DistinctCount => NUMBER + distinct(input),
    }
}

/// A set of values: steps between integers, or hashes.
fn distinct(input: &ValueType) -> u64 {
    const HASH: u64 = 16;
    match input {
        ValueType::Int64 | ValueType::Timestamp => MAX_DISTINCT as u64 * NUMBER,
        ValueType::Bool => 2 * HASH,
        _ => MAX_DISTINCT as u64 * HASH,
    }
}

/// One value, its tag and its length included.
fn value(kind: &ValueType) -> u64 {
    let text = |bytes: u64| 1 + NUMBER + bytes;
    match kind {
        ValueType::Int64 | ValueType::Timestamp | ValueType::Float64 => 1 + NUMBER,
        ValueType::Decimal(_) => 1 + LONG_NUMBER,
        ValueType::Bool => 2,
        ValueType::String => text(MAX_TEXT_BYTES as u64),
        ValueType::List(_) | ValueType::Map(_) => text(MAX_NESTED_BYTES as u64),
        ValueType::Vector(length) => text(2 + FLOAT_TEXT * u64::from(*length)),
        // Counted, not kept.
        ValueType::Any => 0,
    }
}

/// One value in BSON.
fn shown(kind: &ValueType) -> u64 {
    match kind {
        ValueType::String => 8 + MAX_TEXT_BYTES as u64,
        ValueType::List(_) | ValueType::Map(_) => 8 + BSON_PER_JSON * MAX_NESTED_BYTES as u64,
        ValueType::Vector(length) => 8 + 16 * u64::from(*length),
        // Decimals past 34 digits are texts.
        _ => 64,
    }
}
