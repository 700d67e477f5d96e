//! When a batch view is computed: a cron expression of five fields in a time zone. Which instants those are; no clock
//! is read here.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// Ticks that are looked at for the longest pause: a year of days, and a leap day with it.
const TICKS_LOOKED_AT: usize = 400;
/// Where that look begins: 2024-01-01, so that a leap day is in it.
const LOOK_FROM_MS: i64 = 1_704_067_200_000;

/// A cron expression in a time zone. A tick in an hour that the clock skips comes when the clock has skipped it; one in
/// an hour that it repeats comes once.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// Why a text is no schedule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSchedule {
    /// No cron expression.
    #[error("cron `{0}` has not five fields that cron knows ({1}); write for example \"0 0 * * *\"")]
    Cron(String, String),
    /// No time zone.
    #[error("time zone `{0}` is not known; write for example UTC or Europe/Berlin")]
    Zone(String),
    /// A day that never comes.
    #[error("cron `{0}` names no instant that ever comes")]
    Never(String),
}

impl Schedule {
    /// Reads five fields (minute, hour, day of month, month, day of week) and an IANA time zone.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, InvalidSchedule> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).map_err(|error| InvalidSchedule::Cron(cron.to_owned(), error.to_string()))?;
        let zone = Tz::from_str(zone).map_err(|_| InvalidSchedule::Zone(zone.to_owned()))?;
        let schedule = Self { cron: parsed, zone };
        if schedule.next(LOOK_FROM_MS).is_none() {
            return Err(InvalidSchedule::Never(cron.to_owned()));
        }
        Ok(schedule)
    }

    /// The last tick at or before `now`, epoch ms.
    pub fn latest(&self, now: i64) -> Option<i64> {
        let tick = self.cron.find_previous_occurrence(&self.local(now)?, true).ok()?;
        Some(tick.timestamp_millis())
    }

    /// The first tick after `now`, epoch ms.
    pub fn next(&self, now: i64) -> Option<i64> {
        let tick = self.cron.find_next_occurrence(&self.local(now)?, false).ok()?;
        Some(tick.timestamp_millis())
    }

    /// The longest time between two ticks, in ms, of those in a year or so.
    pub fn longest_pause(&self) -> i64 {
        let ticks = std::iter::successors(self.next(LOOK_FROM_MS), |tick| self.next(*tick));
        let ticks: Vec<i64> = ticks.take(TICKS_LOOKED_AT).collect();
        ticks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    fn local(&self, ms: i64) -> Option<DateTime<Tz>> {
        Some(DateTime::<Utc>::from_timestamp_millis(ms)?.with_timezone(&self.zone))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cron.as_str(), self.zone)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    #[test]
    fn midnight_is_the_time_zones() {
        let berlin = Schedule::parse("0 0 * * *", "Europe/Berlin").unwrap();
        assert_eq!(berlin.latest(at("2026-01-15T12:00:00Z")), Some(at("2026-01-14T23:00:00Z")));
        assert_eq!(berlin.next(at("2026-01-15T12:00:00Z")), Some(at("2026-01-15T23:00:00Z")));
        assert_eq!(berlin.latest(at("2026-07-15T12:00:00Z")), Some(at("2026-07-14T22:00:00Z")));
        assert_eq!(berlin.to_string(), "0 0 * * * Europe/Berlin");
    }

    #[test]
    fn a_tick_is_its_own_latest_and_not_its_own_next() {
        let daily = Schedule::parse("30 2 * * *", "UTC").unwrap();
        let tick = at("2026-03-01T02:30:00Z");
        assert_eq!(daily.latest(tick), Some(tick));
        assert_eq!(daily.next(tick), Some(tick + 86_400_000));
        assert_eq!(daily.latest(tick - 1), Some(tick - 86_400_000));
    }

    #[test]
    fn a_day_has_one_tick_whether_the_clock_skips_its_hour_or_repeats_it() {
        let night = Schedule::parse("30 2 * * *", "Europe/Berlin").unwrap();
        for (day_before, day_after) in [
            ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), // 02:30 is skipped
            ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), // 02:30 comes twice
        ] {
            let ticks = std::iter::successors(night.next(at(day_before)), |tick| night.next(*tick));
            assert_eq!(ticks.take_while(|tick| *tick <= at(day_after)).count(), 1, "{day_before}");
        }
    }

    #[test]
    fn the_longest_pause_is_what_a_ttl_must_outlive() {
        let pause = |cron: &str| Schedule::parse(cron, "UTC").unwrap().longest_pause();
        assert_eq!(pause("*/5 * * * *"), 300_000);
        assert_eq!(pause("0 0 * * MON-FRI"), 3 * 86_400_000);
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (cron, zone) in [("0 0 * *", "UTC"), ("61 0 * * *", "UTC"), ("0 0 0 * * *", "UTC"), ("0 0 * * *", "Mars")] {
            assert!(Schedule::parse(cron, zone).is_err(), "{cron} {zone}");
        }
        assert!(matches!(Schedule::parse("0 0 30 2 *", "UTC"), Err(InvalidSchedule::Never(_))));
    }
}
