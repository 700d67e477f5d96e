//! How large a slot can become, from its view alone. Values are bounded where they are read and what is kept of them by
//! the definition, so no order, no batch and no redelivery makes a slot larger than this.

use crate::bytes::NUMBER_BYTES;
use crate::definitions::{Feature, View, WindowSpec};

use super::HEADER_BYTES;

/// The largest slot that a view may come to: half of what Redis takes as one value.
pub const MAX_SLOT_BYTES: u64 = 256 * 1024 * 1024;
/// The largest profile that a view may come to. MongoDB refuses documents past 16 MiB; a command around one needs a
/// little too.
pub const MAX_DOCUMENT_BYTES: u64 = 16 * 1024 * 1024 - 64 * 1024;

/// The bytes around each shown value in a document: the type and the end of its name, and the fields `value`,
/// `timestamp`, `version` and perhaps `error`.
const AROUND_VALUE: u64 = 256;
/// Key, metadata and checkpoint of a document.
const AROUND_DOCUMENT: u64 = 2_048;

/// The most bytes that [`super::encode`] makes of a slot of the view.
pub fn max_bytes(view: &View) -> u64 {
    let state = |index: &usize| view.features[*index].aggregate.max_bytes();
    let window = |spec: &WindowSpec| {
        let tile: u64 = spec.features.iter().map(state).sum();
        (tile + 3 * NUMBER_BYTES).saturating_mul(spec.window.max_tiles()).saturating_add(3 * NUMBER_BYTES)
    };
    view.windows.iter().map(window).fold(HEADER_BYTES as u64 + 3 * NUMBER_BYTES, u64::saturating_add)
}

/// The most bytes of a view's document: the state, and each value as people read it.
pub fn max_document_bytes(view: &View) -> u64 {
    let shown = |feature: &Feature| {
        feature.aggregate.max_shown_bytes().saturating_add(feature.name.len() as u64 + AROUND_VALUE)
    };
    view.features.iter().map(shown).fold(max_bytes(view).saturating_add(AROUND_DOCUMENT), u64::saturating_add)
}
