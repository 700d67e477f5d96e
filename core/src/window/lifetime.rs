//! A window over all entries: its state is one tile.

use super::expect_tag;
use crate::bytes::{DecodeError, Reader, Writer};

pub(super) const TAG: u8 = 0;
pub(super) const MAX_TILES: u64 = 1;

pub(super) fn write<T>(writer: &mut Writer, total: &T, mut tile: impl FnMut(&mut Writer, &T)) {
    writer.byte(TAG);
    tile(writer, total);
}

pub(super) fn read<'a, T>(
    reader: &mut Reader<'a>,
    mut tile: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    expect_tag(reader, TAG)?;
    tile(reader)
}

pub(super) fn visit<'a>(
    reader: &mut Reader<'a>,
    mut tile: impl FnMut(&mut Reader<'a>, bool) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    expect_tag(reader, TAG)?;
    tile(reader, true)
}
