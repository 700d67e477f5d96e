//! The bytes of a slot: `codec version (1) | generation (4) | ms (8) | seq (8) | state`. The header is big-endian
//! and fixed, because the Redis function `put` compares it; the state describes itself, so that any process can
//! decode it without the one that wrote it.

mod bound;
mod fold;
mod read;
mod state;
mod write;

use crate::definitions::{View, Window, WindowSpec};
use crate::position::Position;
use crate::slot::{Checkpoint, Session, Slot, Tile, WindowState};

use read::Reader;
use write::Writer;

pub use bound::{MAX_DOCUMENT_BYTES, MAX_SLOT_BYTES, max_bytes, max_document_bytes};
pub use fold::{EncodedSlot, Wanted};

/// The first byte of every value written by this engine.
pub const CODEC_VERSION: u8 = 1;
/// The semantics of codecs and aggregates. A worker stops at a control entry that asks for a later one.
pub const ENGINE: u32 = 1;
/// Bytes before the state.
pub const HEADER_BYTES: usize = 21;

/// The first byte of a window: which kind it is.
const TOTAL: u8 = 0;
const RING: u8 = 1;
const SESSIONS: u8 = 2;

/// Why bytes are no slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("the value ends at byte {0}")]
    Truncated(usize),
    /// Bytes are left over.
    #[error("{0} bytes are left after the value")]
    Trailing(usize),
    /// Written by a later engine.
    #[error("codec version {0} is not known to this engine")]
    UnknownVersion(u8),
    /// A tag or number that means nothing.
    #[error("byte {at} holds no {what}")]
    Invalid {
        /// What was expected.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A slot of another view.
    #[error("the value has not the shape of view {0}")]
    WrongShape(String),
}

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
        write_window(&mut writer, window);
    }
    writer.bytes
}

/// Reads the header alone: how far the slot has absorbed.
pub fn checkpoint(bytes: &[u8]) -> Result<Checkpoint, DecodeError> {
    read_header(&mut Reader::new(bytes))
}

/// Reads a slot, whatever view it belongs to.
pub fn decode(bytes: &[u8]) -> Result<Slot, DecodeError> {
    let mut reader = Reader::new(bytes);
    let checkpoint = read_header(&mut reader)?;
    let newest = read_newest(&mut reader)?;
    let count = reader.length()?;
    let windows = (0..count).map(|_| read_window(&mut reader)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(Slot { checkpoint, newest, windows })
}

/// Reads a slot of `view`, and refuses one of another shape.
pub fn decode_for(view: &View, bytes: &[u8]) -> Result<Slot, DecodeError> {
    let slot = decode(bytes)?;
    let fits = slot.windows.len() == view.windows.len()
        && slot.windows.iter().zip(&view.windows).all(|(window, spec)| has_shape(window, spec));
    if fits { Ok(slot) } else { Err(DecodeError::WrongShape(view.id())) }
}

fn has_shape(window: &WindowState, spec: &WindowSpec) -> bool {
    let fits = |tile: &Tile| tile.len() == spec.features.len();
    match (window, spec.window) {
        (WindowState::Lifetime(tile), Window::Lifetime) => fits(tile),
        (WindowState::Ring(ring), Window::Sliding { .. }) => ring.iter().all(|(_, tile)| fits(tile)),
        (WindowState::Sessions(sessions), Window::Session { .. }) => sessions.iter().all(|s| fits(&s.tile)),
        _ => false,
    }
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

fn read_newest(reader: &mut Reader<'_>) -> Result<Option<i64>, DecodeError> {
    match reader.byte()? {
        0 => Ok(None),
        _ => reader.signed64().map(Some),
    }
}

/// Tiles are epoch-aligned, so their starts are written as steps: mostly one byte, once the unit is known.
fn write_window(writer: &mut Writer, window: &WindowState) {
    match window {
        WindowState::Lifetime(tile) => {
            writer.byte(TOTAL);
            state::write_tile(writer, tile);
        }
        WindowState::Ring(ring) => {
            writer.byte(RING);
            writer.length(ring.len());
            let starts: Vec<i64> = ring.iter().map(|(start, _)| *start).collect();
            let unit = starts.windows(2).fold(0, |unit, pair| gcd(unit, pair[1] - pair[0])).max(1);
            writer.signed(i128::from(unit));
            let mut last = 0;
            for (index, (start, tile)) in ring.iter().enumerate() {
                let step = if index == 0 { *start } else { (start - last) / unit };
                writer.signed(i128::from(step));
                state::write_tile(writer, tile);
                last = *start;
            }
        }
        WindowState::Sessions(sessions) => {
            writer.byte(SESSIONS);
            writer.length(sessions.len());
            for session in sessions {
                writer.signed(i128::from(session.start));
                writer.signed(i128::from(session.end) - i128::from(session.start));
                state::write_tile(writer, &session.tile);
            }
        }
    }
}

fn read_window(reader: &mut Reader<'_>) -> Result<WindowState, DecodeError> {
    Ok(match reader.byte()? {
        TOTAL => WindowState::Lifetime(state::read_tile(reader)?),
        RING => {
            let count = reader.length()?;
            let mut start = reader.ring_start()?;
            let mut ring = Vec::with_capacity(count);
            for _ in 0..count {
                ring.push((start.next(reader)?, state::read_tile(reader)?));
            }
            WindowState::Ring(ring)
        }
        SESSIONS => {
            let count = reader.length()?;
            let mut sessions = Vec::with_capacity(count);
            for _ in 0..count {
                let start = reader.signed64()?;
                let end = start.saturating_add(reader.signed64()?);
                sessions.push(Session { start, end, tile: state::read_tile(reader)? });
            }
            WindowState::Sessions(sessions)
        }
        _ => return Err(reader.invalid("window kind")),
    })
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
