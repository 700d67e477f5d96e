//! Windows cut into tiles: where a tile starts, how long it lives, what a window at `t` covers. Times are ms.

use crate::definitions::Window;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The hops that a window gets by default: at most a hundred tiles each.
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

/// The smallest listed hop that is at least a hundredth of the window; none past 1,000 days.
pub fn default_hop(size: i64) -> Option<i64> {
    HOPS.into_iter().find(|hop| hop.saturating_mul(100) >= size)
}

/// The start of the epoch-aligned tile that holds `time`.
pub fn floor(time: i64, hop: i64) -> i64 {
    time.div_euclid(hop) * hop
}

impl Window {
    /// The earliest feature time that a sliding window at `t` covers; everything before it no longer counts.
    pub fn start_at(&self, t: i64) -> i64 {
        match self {
            Self::Sliding { size, hop } => floor(t.saturating_sub(*size), *hop),
            Self::Lifetime | Self::Session { .. } => i64::MIN,
        }
    }
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
        assert_eq!(floor(-1, 1_000), -1_000);
        assert_eq!(floor(1_999, 1_000), 1_000);
    }
}
