//! Windows: which entries count as seen at an instant `t`. Each kind has one file with its state, the bytes of that
//! state, its SQL, how long an entry matters to it and how many tiles it can hold. This file chooses between the kinds.
//! The content of a tile is left to `tile`. Times are ms.

mod cut;
mod lifetime;
mod session;
mod tiled;

pub use cut::{Cut, default_hop};
pub use session::{Session, Sessions};
pub use tiled::{Ring, Span};

use crate::aggregate::WrongKind;
use crate::bytes::{DecodeError, Reader, Writer};

/// Which entries count, as seen at `t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// All of them.
    Lifetime,
    /// The whole tiles of a span that ends at `t`: a sliding or a tumbling window.
    Tiled {
        /// Which tile a feature time belongs to.
        cut: Cut,
        /// How far back the tiles reach.
        span: Span,
    },
    /// The chain of entries, each at most `gap` after the one before, whose end is at most `gap` before `t`.
    Session {
        /// The longest pause inside a session.
        gap: i64,
        /// How far behind the newest an entry may be and still count.
        lateness: i64,
    },
}

/// The state of one window. `T` is what it holds of the entries of one tile.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowState<T> {
    /// One tile for all entries.
    Lifetime(T),
    /// The tiles that can still count.
    Ring(Ring<T>),
    /// The sessions that an entry in time could still touch.
    Sessions(Sessions<T>),
}

/// Where an entry counts in a window.
#[derive(Debug)]
pub enum Counted<'w, T> {
    /// In this tile.
    In(&'w mut T),
    /// In none: its tile has left the window.
    Expired,
    /// In none: it is further behind the newest entry than the window's lateness.
    Late,
}

/// The times that decide where an entry counts.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The entry's feature time.
    pub time: i64,
    /// The greatest feature time before it; None before the first entry.
    pub newest_before: Option<i64>,
}

impl Arrival {
    /// The greatest feature time with this entry.
    pub fn newest(self) -> i64 {
        self.newest_before.map_or(self.time, |before| before.max(self.time))
    }
}

impl Window {
    /// How long after an entry the window can still hold it; None for ever.
    pub fn horizon(self) -> Option<i64> {
        match self {
            Self::Lifetime => None,
            Self::Tiled { cut, span } => Some(tiled::horizon(cut, span)),
            Self::Session { gap, lateness } => Some(session::horizon(gap, lateness)),
        }
    }

    /// The earliest feature time that the window covers at `t`; None where no time is too early.
    pub fn start_at(self, t: i64) -> Option<i64> {
        match self {
            Self::Lifetime | Self::Session { .. } => None,
            Self::Tiled { cut, span } => Some(tiled::start_at(cut, span, t)),
        }
    }

    /// The most tiles that its state holds at once.
    pub fn max_tiles(self) -> u64 {
        match self {
            Self::Lifetime => lifetime::MAX_TILES,
            Self::Tiled { cut, span } => tiled::max_tiles(cut, span),
            Self::Session { gap, lateness } => session::max_tiles(gap, lateness),
        }
    }

    /// The condition under which SQL counts an entry at `{t:Int64}`; None where every entry counts. `index` is the
    /// window's in its view.
    pub(crate) fn sql_condition(self, index: usize) -> Option<String> {
        match self {
            Self::Lifetime => None,
            Self::Tiled { cut, span } => Some(tiled::sql_condition(cut, span)),
            Self::Session { .. } => Some(session::sql_condition(index)),
        }
    }

    /// The SELECT of entries with the columns that the condition asks for. `keys` are the key columns of `entries`.
    pub(crate) fn sql_entries(self, index: usize, keys: &str, entries: String) -> String {
        match self {
            Self::Lifetime | Self::Tiled { .. } => entries,
            Self::Session { gap, lateness } => session::sql_entries(index, gap, lateness, keys, &entries),
        }
    }

    /// Steps through the encoded state of the window. Calls `tile` at each tile, with whether it counts at `t`.
    pub(crate) fn visit<'a>(
        self,
        reader: &mut Reader<'a>,
        t: i64,
        tile: impl FnMut(&mut Reader<'a>, bool) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Lifetime => lifetime::visit(reader, tile),
            Self::Tiled { cut, span } => tiled::visit(reader, tiled::start_at(cut, span, t), tile),
            Self::Session { gap, .. } => session::visit(reader, gap, t, tile),
        }
    }

    /// Reads the state of the window.
    pub(crate) fn read<'a, T>(
        self,
        reader: &mut Reader<'a>,
        tile: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<WindowState<T>, DecodeError> {
        Ok(match self {
            Self::Lifetime => WindowState::Lifetime(lifetime::read(reader, tile)?),
            Self::Tiled { .. } => WindowState::Ring(Ring::read(reader, tile)?),
            Self::Session { .. } => WindowState::Sessions(Sessions::read(reader, tile)?),
        })
    }
}

impl<T> WindowState<T> {
    /// The state that holds no entry.
    pub fn empty(window: Window, tile: impl FnOnce() -> T) -> Self {
        match window {
            Window::Lifetime => Self::Lifetime(tile()),
            Window::Tiled { .. } => Self::Ring(Ring::default()),
            Window::Session { .. } => Self::Sessions(Sessions::default()),
        }
    }

    /// The tile that an entry counts in. Tiles that have left the window are dropped; `merge` joins two tiles between
    /// which the entry stands.
    pub fn tile_for(
        &mut self,
        window: Window,
        arrival: Arrival,
        empty: impl FnOnce() -> T,
        merge: impl FnOnce(&mut T, &T) -> Result<(), WrongKind>,
    ) -> Result<Counted<'_, T>, WrongKind> {
        match window {
            Window::Lifetime => match self {
                Self::Lifetime(tile) => Ok(Counted::In(tile)),
                Self::Ring(_) | Self::Sessions(_) => Err(WrongKind),
            },
            Window::Tiled { cut, span } => match self {
                Self::Ring(ring) => Ok(ring.tile_for(cut, span, arrival, empty)),
                Self::Lifetime(_) | Self::Sessions(_) => Err(WrongKind),
            },
            Window::Session { gap, lateness } => match self {
                Self::Sessions(sessions) => sessions.tile_for(gap, lateness, arrival, empty, merge),
                Self::Lifetime(_) | Self::Ring(_) => Err(WrongKind),
            },
        }
    }

    /// Calls `take` with each tile that counts at `t`.
    pub fn tiles_at<'w>(
        &'w self,
        window: Window,
        t: i64,
        mut take: impl FnMut(&'w T) -> Result<(), WrongKind>,
    ) -> Result<(), WrongKind> {
        match window {
            Window::Lifetime => match self {
                Self::Lifetime(tile) => take(tile),
                Self::Ring(_) | Self::Sessions(_) => Err(WrongKind),
            },
            Window::Tiled { cut, span } => match self {
                Self::Ring(ring) => ring.tiles_from(tiled::start_at(cut, span, t)).try_for_each(take),
                Self::Lifetime(_) | Self::Sessions(_) => Err(WrongKind),
            },
            Window::Session { gap, .. } => match self {
                Self::Sessions(sessions) => sessions.open_at(gap, t).map_or(Ok(()), take),
                Self::Lifetime(_) | Self::Ring(_) => Err(WrongKind),
            },
        }
    }

    /// Writes the state, each tile by `tile`.
    pub(crate) fn write(&self, writer: &mut Writer, tile: impl FnMut(&mut Writer, &T)) {
        match self {
            Self::Lifetime(total) => lifetime::write(writer, total, tile),
            Self::Ring(ring) => ring.write(writer, tile),
            Self::Sessions(sessions) => sessions.write(writer, tile),
        }
    }
}

/// Reads the tag of a window of another kind as `WrongShape`, and no tag at all as invalid.
fn expect_tag(reader: &mut Reader<'_>, expected: u8) -> Result<(), DecodeError> {
    const TAGS: [u8; 3] = [lifetime::TAG, tiled::TAG, session::TAG];
    match reader.byte()? {
        tag if tag == expected => Ok(()),
        tag if TAGS.contains(&tag) => Err(DecodeError::WrongShape),
        _ => Err(reader.invalid("window kind")),
    }
}
