//! The bytes of a slot: `codec version (1) | generation (4) | ms (8) | seq (8) | state`. The header is big-endian
//! and fixed, because the Redis function `put` compares it. The bytes of a state are its window's and its aggregates'.
//! Any process that knows the view can decode them.

mod bound;
mod fold;

use crate::bytes::{Reader, Writer};
use crate::definitions::{View, WindowSpec};
use crate::position::Position;
use crate::slot::{Checkpoint, Slot};
use crate::tile::{read_tile, write_tile};

pub use crate::bytes::DecodeError;
pub use bound::{MAX_DOCUMENT_BYTES, MAX_SLOT_BYTES, max_bytes, max_document_bytes};
pub use fold::{EncodedSlot, Wanted};

/// The first byte of every value written by this engine.
pub const CODEC_VERSION: u8 = 1;
/// The semantics of codecs and aggregates. A worker stops at a control entry that asks for a later one.
pub const ENGINE: u32 = 1;
/// Bytes before the state.
pub const HEADER_BYTES: usize = 21;

/// The bytes of a slot. Equal slots have equal bytes.
pub fn encode(slot: &Slot) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(CODEC_VERSION);
    writer.fixed(&slot.checkpoint.generation.to_be_bytes());
    writer.fixed(&slot.checkpoint.position.ms.to_be_bytes());
    writer.fixed(&slot.checkpoint.position.seq.to_be_bytes());
    match slot.newest {
        None => writer.byte(0),
        Some(newest) => {
            writer.byte(1);
            writer.signed(i128::from(newest));
        }
    }
    writer.length(slot.windows.len());
    for window in &slot.windows {
        window.write(&mut writer, write_tile);
    }
    writer.bytes
}

/// Reads the header alone: how far the slot has absorbed.
pub fn checkpoint(bytes: &[u8]) -> Result<Checkpoint, DecodeError> {
    read_header(&mut Reader::new(bytes))
}

/// Reads a slot of `view`, and refuses one of other windows or aggregates.
pub fn decode_for(view: &View, bytes: &[u8]) -> Result<Slot, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (checkpoint, newest) = read_beginning(&mut reader, view)?;
    let window = |spec: &WindowSpec| spec.window.read(&mut reader, |reader| read_tile(reader, view, spec));
    let windows = view.windows.iter().map(window).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(Slot { checkpoint, newest, windows })
}

/// Reads what stands before the windows.
fn read_beginning(reader: &mut Reader<'_>, view: &View) -> Result<(Checkpoint, Option<i64>), DecodeError> {
    let checkpoint = read_header(reader)?;
    let newest = match reader.byte()? {
        0 => None,
        _ => Some(reader.signed64()?),
    };
    if reader.length()? != view.windows.len() {
        return Err(DecodeError::WrongShape);
    }
    Ok((checkpoint, newest))
}

fn read_header(reader: &mut Reader<'_>) -> Result<Checkpoint, DecodeError> {
    let version = reader.byte()?;
    if version != CODEC_VERSION {
        return Err(DecodeError::UnknownVersion(version));
    }
    let generation = u32::from_be_bytes(reader.fixed()?);
    let ms = u64::from_be_bytes(reader.fixed()?);
    let seq = u64::from_be_bytes(reader.fixed()?);
    Ok(Checkpoint { generation, position: Position { ms, seq } })
}

#[cfg(test)]
mod tests;
