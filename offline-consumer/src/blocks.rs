//! Cuts a batch into blocks, each of which is one INSERT.

use std::ops::Range;

use millrace_common::stores::clickhouse::row_bytes;
use millrace_common::worker::Batch;
use millrace_core::event::Event;
use millrace_core::position::Position;

/// The most bytes of one block.
const BLOCK_BYTES: usize = 16 * 1024 * 1024;

/// Consecutive events that go out as one block.
#[derive(Clone, Copy)]
pub struct Block<'b> {
    /// The position before it.
    pub after: Position,
    /// Its last position.
    pub upto: Position,
    /// The events in between that count.
    pub events: &'b [(Position, Event)],
}

impl Block<'_> {
    /// Some of its events, from the position before them to the last of them, or to its own end.
    pub fn piece(&self, range: Range<usize>) -> Self {
        let before = |index: usize| self.events[index - 1].0;
        let after = if range.start == 0 { self.after } else { before(range.start) };
        let upto = if range.end == self.events.len() { self.upto } else { before(range.end) };
        Self { after, upto, events: &self.events[range] }
    }
}

/// Cuts the rest of a batch, after `from`, into blocks: at a bound of bytes, and at the edges of a block whose outcome is not
/// known, which must go out again as it was.
pub fn cut<'b>(batch: &'b Batch, from: Position, edges: Option<(Position, Position)>) -> Vec<Block<'b>> {
    let edge = |position: Position| edges.is_some_and(|(after, upto)| position == after || position == upto);
    let mut blocks = Vec::new();
    let first = batch.events.partition_point(|(position, _)| *position <= from);
    let (mut start, mut after, mut bytes) = (first, from, 0);
    for (index, (position, event)) in batch.events.iter().enumerate().skip(first) {
        bytes += row_bytes(event);
        let last = index + 1 == batch.events.len();
        let next_is_past_edge =
            !last && edges.is_some_and(|(_, upto)| *position < upto && batch.events[index + 1].0 > upto);
        if last || bytes >= BLOCK_BYTES || edge(*position) || next_is_past_edge {
            let upto = match edges {
                Some(_) | None if last => batch.upto,
                Some((_, upto)) if next_is_past_edge => upto,
                Some(_) | None => *position,
            };
            blocks.push(Block { after, upto, events: &batch.events[start..=index] });
            (start, after, bytes) = (index + 1, upto, 0);
        }
    }
    blocks
}
