//! Sliding and tumbling windows: a ring of tiles. At `t`, the first tile of the span and all later ones count. The caller
//! does not read at a `t` before the newest entry, so no tile lies after `t`. `cut` decides where a tile starts.

use super::{Arrival, Counted, Cut, expect_tag};
use crate::bytes::{DecodeError, Reader, Writer};

pub(super) const TAG: u8 = 1;

/// How far back the tiles of a window reach from `t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The tile that holds `t`: a tumbling window.
    Tile,
    /// The tile that holds the instant this number of ms before `t`, and all after it: a sliding window.
    Sliding(i64),
}

/// Tiles by their start, ascending. Empty tiles are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ring<T> {
    tiles: Vec<(i64, T)>,
}

impl Span {
    fn ms(self) -> i64 {
        match self {
            Self::Tile => 0,
            Self::Sliding(ms) => ms,
        }
    }
}

/// The start of the first tile that counts at `t`.
pub(super) fn start_at(cut: Cut, span: Span, t: i64) -> i64 {
    cut.floor(t.saturating_sub(span.ms()))
}

/// An entry counts for at most this number of ms after its feature time.
pub(super) fn horizon(cut: Cut, span: Span) -> i64 {
    span.ms() + cut.longest()
}

/// The most tiles that a ring holds. The first and the last one can be partly outside of the span.
pub(super) fn max_tiles(cut: Cut, span: Span) -> u64 {
    u64::try_from(span.ms() / cut.longest().max(1) + 2).unwrap_or(u64::MAX)
}

pub(super) fn sql_condition(cut: Cut, span: Span) -> String {
    let start = cut.sql_floor(&format!("({{t:Int64}} - {})", span.ms()));
    format!("feature_ms >= {start}")
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { tiles: Vec::new() }
    }
}

impl<T> Ring<T> {
    /// Drops the tiles that have left the window at the newest entry. Then returns the tile of this entry, which is made if
    /// the ring does not have it. A late entry counts as well, unless its tile has left the window.
    pub(super) fn tile_for(
        &mut self,
        cut: Cut,
        span: Span,
        arrival: Arrival,
        empty: impl FnOnce() -> T,
    ) -> Counted<'_, T> {
        let oldest = start_at(cut, span, arrival.newest());
        let expired = self.tiles.partition_point(|(start, _)| *start < oldest);
        self.tiles.drain(..expired);
        let start = cut.floor(arrival.time);
        if start < oldest {
            return Counted::Expired;
        }
        let at = self.tiles.partition_point(|(other, _)| *other < start);
        if self.tiles.get(at).is_none_or(|(other, _)| *other != start) {
            self.tiles.insert(at, (start, empty()));
        }
        Counted::In(&mut self.tiles[at].1)
    }

    /// The tiles that start at `oldest` or later.
    pub(super) fn tiles_from(&self, oldest: i64) -> impl Iterator<Item = &T> {
        self.tiles.iter().filter(move |(start, _)| *start >= oldest).map(|(_, tile)| tile)
    }

    /// Writes the first start whole. Each other start is written as its distance from the one before, in units of the
    /// greatest common divisor of all distances: mostly one byte.
    pub(super) fn write(&self, writer: &mut Writer, mut tile: impl FnMut(&mut Writer, &T)) {
        writer.byte(TAG);
        writer.length(self.tiles.len());
        let unit = self.tiles.windows(2).fold(0, |unit, pair| gcd(unit, pair[1].0 - pair[0].0)).max(1);
        writer.signed(i128::from(unit));
        let mut last = None;
        for (start, held) in &self.tiles {
            let step = last.map_or(*start, |last| (start - last) / unit);
            writer.signed(i128::from(step));
            tile(writer, held);
            last = Some(*start);
        }
    }

    pub(super) fn read<'a>(
        reader: &mut Reader<'a>,
        mut tile: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut starts = Starts::read(reader)?;
        let mut tiles = Vec::with_capacity(starts.count);
        for _ in 0..starts.count {
            tiles.push((starts.next(reader)?, tile(reader)?));
        }
        Ok(Self { tiles })
    }
}

/// Calls `tile` at each encoded tile, with whether it starts at `oldest` or later. `tile` reads the tile or steps over it.
pub(super) fn visit<'a>(
    reader: &mut Reader<'a>,
    oldest: i64,
    mut tile: impl FnMut(&mut Reader<'a>, bool) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut starts = Starts::read(reader)?;
    for _ in 0..starts.count {
        let counts = starts.next(reader)? >= oldest;
        tile(reader, counts)?;
    }
    Ok(())
}

/// Reads the starts of encoded tiles, which `Ring::write` describes.
struct Starts {
    count: usize,
    unit: i64,
    last: Option<i64>,
}

impl Starts {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        expect_tag(reader, TAG)?;
        Ok(Self { count: reader.length()?, unit: reader.signed64()?, last: None })
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
        let step = reader.signed64()?;
        let start = self.last.map_or(step, |last| last.saturating_add(step.saturating_mul(self.unit)));
        self.last = Some(start);
        Ok(start)
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
