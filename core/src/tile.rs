//! A tile: one state for each feature of a window. It is made, fed, merged and read by its window's declaration.

use crate::aggregate::{AggregateState, Stamp, WrongKind};
use crate::bytes::{DecodeError, Reader, Writer};
use crate::definitions::{View, WindowSpec};
use crate::scalar::Scalar;

/// One state for each feature of a window, in the order of its declaration.
pub type Tile = Vec<AggregateState>;

/// A tile that has absorbed nothing.
pub(crate) fn empty_tile(view: &View, spec: &WindowSpec) -> Tile {
    spec.features.iter().map(|index| view.features[*index].aggregate.empty()).collect()
}

/// Takes one entry in. `inputs` are the view's; a feature leaves out a null.
pub(crate) fn absorb_into_tile(
    tile: &mut Tile,
    view: &View,
    spec: &WindowSpec,
    stamp: Stamp<'_>,
    inputs: &[Option<Scalar<'_>>],
) -> Result<(), WrongKind> {
    if tile.len() != spec.features.len() {
        return Err(WrongKind);
    }
    for (state, index) in tile.iter_mut().zip(&spec.features) {
        let feature = &view.features[*index];
        match feature.input.map(|input| &inputs[input]) {
            None => feature.aggregate.absorb(state, stamp, &Scalar::Bool(true))?,
            Some(Some(value)) => feature.aggregate.absorb(state, stamp, value)?,
            Some(None) => {}
        }
    }
    Ok(())
}

/// Joins what another tile of the same window has absorbed.
pub(crate) fn merge_tiles(tile: &mut Tile, other: &Tile, view: &View, spec: &WindowSpec) -> Result<(), WrongKind> {
    if tile.len() != spec.features.len() || other.len() != spec.features.len() {
        return Err(WrongKind);
    }
    for ((state, other), index) in tile.iter_mut().zip(other).zip(&spec.features) {
        view.features[*index].aggregate.merge(state, other)?;
    }
    Ok(())
}

pub(crate) fn write_tile(writer: &mut Writer, tile: &Tile) {
    writer.length(tile.len());
    tile.iter().for_each(|state| state.write(writer));
}

/// Reads a tile of the window, and refuses one of other features.
pub(crate) fn read_tile(reader: &mut Reader<'_>, view: &View, spec: &WindowSpec) -> Result<Tile, DecodeError> {
    expect_length(reader, spec.features.len())?;
    spec.features.iter().map(|index| view.features[*index].aggregate.read(reader)).collect()
}

/// Reads how many states a tile holds.
pub(crate) fn expect_length(reader: &mut Reader<'_>, features: usize) -> Result<(), DecodeError> {
    if reader.length()? == features { Ok(()) } else { Err(DecodeError::WrongShape) }
}
