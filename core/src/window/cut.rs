//! How time is cut into tiles: where the tile of a feature time starts, and which hop a window gets by default.

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The hops that a window can get by default.
const HOPS: [i64; 21] = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    5 * DAY,
    10 * DAY,
];

/// Which tile a feature time belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Tiles of this many ms, the first of which starts at the epoch.
    Every(i64),
}

impl Cut {
    /// The start of the tile that holds `time`.
    pub fn floor(self, time: i64) -> i64 {
        match self {
            Self::Every(hop) => time.div_euclid(hop) * hop,
        }
    }

    /// The longest that a tile lasts.
    pub fn longest(self) -> i64 {
        match self {
            Self::Every(hop) => hop,
        }
    }

    /// The start of the tile that holds an instant, in SQL.
    pub(super) fn sql_floor(self, instant: &str) -> String {
        match self {
            Self::Every(hop) => format!("{instant} - positiveModulo({instant}, {hop})"),
        }
    }
}

/// The smallest listed hop that is at least a hundredth of the window; None past 1,000 days.
pub fn default_hop(size: i64) -> Option<i64> {
    HOPS.into_iter().find(|hop| hop.saturating_mul(100) >= size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_hops_are_the_documented_ones() {
        let cases = [
            (5 * MINUTE, 5 * SECOND),
            (HOUR, MINUTE),
            (7 * DAY, 2 * HOUR),
            (30 * DAY, 12 * HOUR),
            (90 * DAY, DAY),
            (1, SECOND),
            (1_000 * DAY, 10 * DAY),
        ];
        for (size, hop) in cases {
            assert_eq!(default_hop(size), Some(hop), "window of {size} ms");
        }
        assert_eq!(default_hop(1_001 * DAY), None);
    }

    #[test]
    fn tiles_are_epoch_aligned_before_the_epoch_too() {
        assert_eq!(Cut::Every(1_000).floor(-1), -1_000);
        assert_eq!(Cut::Every(1_000).floor(1_999), 1_000);
    }
}
