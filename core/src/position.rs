//! A place in one partition's log: the id that Redis gave the entry. Parsing and order only; which partition it
//! belongs to is the caller's to know.

use std::fmt;
use std::str::FromStr;

/// A stream id, `<milliseconds>-<sequence>`. Its milliseconds are the entry's *stream time*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since the epoch, UTC, on the log's clock.
    pub ms: u64,
    /// Sequence within the millisecond.
    pub seq: u64,
}

/// Why a text is not a position.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a stream position; expected `<milliseconds>-<sequence>`")]
pub struct InvalidPosition(pub String);

impl Position {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };

    /// A position from its two numbers.
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The stream time as a signed epoch millisecond, the type that event times have.
    pub fn stream_time(self) -> i64 {
        i64::try_from(self.ms).unwrap_or(i64::MAX)
    }

    /// The smallest position after this one.
    pub fn next(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None => Self { ms: self.ms.saturating_add(1), seq: 0 },
        }
    }

    /// The greatest position before this one; [`Position::ZERO`] has none and answers itself.
    pub fn previous(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => Self::ZERO,
            (ms, 0) => Self { ms: ms - 1, seq: u64::MAX },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let invalid = || InvalidPosition(text.to_owned());
        let (ms, seq) = text.split_once('-').ok_or_else(invalid)?;
        Ok(Self { ms: ms.parse().map_err(|_| invalid())?, seq: seq.parse().map_err(|_| invalid())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_by_milliseconds_then_sequence() {
        assert!(Position::new(1, 9) < Position::new(2, 0));
        assert!(Position::new(2, 9) < Position::new(2, 10));
    }

    #[test]
    fn text_round_trips() {
        let position: Position = "1700000000000-7".parse().unwrap();
        assert_eq!(position, Position::new(1_700_000_000_000, 7));
        assert_eq!(position.to_string(), "1700000000000-7");
        assert!("17".parse::<Position>().is_err());
        assert!("17-".parse::<Position>().is_err());
    }

    #[test]
    fn next_and_previous_are_inverse() {
        for position in [Position::new(5, 0), Position::new(5, u64::MAX), Position::new(0, 1)] {
            assert_eq!(position.next().previous(), position);
        }
    }
}
