//! Reads the text of instants as epoch milliseconds in UTC. This is the only place that does. Which range of instants
//! is acceptable is left to each caller.

use std::ops::RangeInclusive;

use chrono::DateTime;

/// The instants that every store holds exactly: 1900-01-01 to 2299-12-31T23:59:59.999, the range of a ClickHouse
/// `DateTime64(3)`.
pub const STORABLE: RangeInclusive<i64> = -2_208_988_800_000..=10_413_791_999_999;

/// Reads RFC 3339, such as `2026-11-21T12:00:00Z`. Parts of a millisecond are cut off.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.timestamp_millis())
}

/// Reads RFC 3339 or a decimal number of epoch milliseconds.
pub fn parse(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| from_rfc3339(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_applied_and_parts_of_a_millisecond_are_cut_off() {
        assert_eq!(from_rfc3339("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(from_rfc3339("1970-01-01 02:00:00.0129+02:00"), Some(12));
        assert_eq!(from_rfc3339("1969-12-31t23:59:59.999z"), Some(-1));
        for text in
            ["", "1000", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:00+0000", "1970-13-01T00:00:00Z"]
        {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_epoch_milliseconds() {
        assert_eq!(parse("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(parse("-1"), Some(-1));
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(1_000));
        for text in ["", "1.5", " 1", "1e3", "9223372036854775808"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_storable_range_is_four_centuries() {
        assert_eq!(from_rfc3339("1900-01-01T00:00:00Z"), Some(*STORABLE.start()));
        assert_eq!(from_rfc3339("2299-12-31T23:59:59.999Z"), Some(*STORABLE.end()));
    }
}
