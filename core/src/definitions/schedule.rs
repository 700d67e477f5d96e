//! When a batch view is computed: a cron expression of five fields in a time zone. Which instants those are; no clock
//! is read here.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Offset, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

const DAY_MS: i64 = 86_400_000;
/// Where the look for the longest pause begins: before 2023 in every time zone.
const LOOK_FROM_MS: i64 = 1_672_444_800_000;
/// How long it looks: two years, so that there is a leap day between two ticks of any day of the year.
const LOOKED_AT_MS: i64 = 733 * DAY_MS;

/// A cron expression in a time zone. A tick in an hour that the clock skips comes when the clock has skipped it; one in
/// an hour that it repeats comes once. This holds for fixed hours; `*/20` stays twenty minutes apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// Why a text is not a schedule.
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

    /// The longest time between two ticks, in ms, of those in two years.
    ///
    /// All days that have ticks have them at the same times of day. So one whole day is walked tick by tick, and those on
    /// which the clock changes; of the others only what lies between the last tick of one and the first of the next.
    pub fn longest_pause(&self) -> i64 {
        let (mut longest, mut whole_days) = (0, 0);
        let Some(mut tick) = self.next(LOOK_FROM_MS) else { return 0 };
        while tick < LOOK_FROM_MS + LOOKED_AT_MS {
            let midnight = self.usual_midnight(tick);
            // The first day may have begun before the look did.
            let last = midnight.filter(|_| whole_days >= 2).and_then(|midnight| self.latest(midnight - 1));
            let last = last.unwrap_or(tick).max(tick);
            let Some(next) = self.next(last) else { break };
            longest = longest.max(next - last);
            whole_days += u32::from(midnight.is_some_and(|midnight| next >= midnight));
            tick = next;
        }
        longest
    }

    /// The midnight after `ms`; None where the clock changes before it.
    fn usual_midnight(&self, ms: i64) -> Option<i64> {
        let local = self.local(ms)?;
        let midnight = ms + DAY_MS - i64::from(local.num_seconds_from_midnight()) * 1_000;
        (self.local(midnight)?.offset().fix() == local.offset().fix()).then_some(midnight)
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
    use std::collections::BTreeSet;

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
            let latest = (at(day_before)..=at(day_after)).step_by(60_000).filter_map(|now| night.latest(now));
            let ticks: BTreeSet<i64> = latest.filter(|tick| *tick > at(day_before)).collect();
            assert_eq!(ticks.len(), 1, "{day_before}");
        }
    }

    #[test]
    fn the_latest_tick_and_the_next_agree_when_the_clock_changes() {
        for cron in ["30 2 * * *", "0 3 * * *", "*/20 * * * *", "0 */2 * * *", "15 1-4 * * *", "0 9-17/4 * * MON-FRI"] {
            for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "UTC"] {
                let schedule = Schedule::parse(cron, zone).unwrap();
                for (from, to) in
                    [("2026-03-07", "2026-03-10"), ("2026-03-28", "2026-04-06"), ("2026-10-03", "2026-11-02")]
                {
                    let (from, to) = (at(&format!("{from}T00:00:00Z")), at(&format!("{to}T00:00:00Z")));
                    let first = schedule.latest(from).unwrap();
                    let ticks = std::iter::successors(Some(first), |tick| schedule.next(*tick));
                    let ticks: Vec<i64> = ticks.take_while(|tick| *tick <= to).collect();
                    for now in (from..to).step_by(600_000) {
                        let latest = ticks[ticks.partition_point(|tick| *tick <= now) - 1];
                        assert_eq!(schedule.latest(now), Some(latest), "{cron} {zone} at {now}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_so_many_minutes_stays_so_many_when_the_clock_changes() {
        let schedule = Schedule::parse("*/30 * * * *", "Europe/Berlin").unwrap();
        for (from, to) in
            [("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z")]
        {
            let ticks = std::iter::successors(schedule.next(at(from)), |tick| schedule.next(*tick));
            assert_eq!(ticks.take_while(|tick| *tick <= at(to)).count(), 48, "{from}");
        }
    }

    #[test]
    fn the_longest_pause_is_what_a_ttl_must_outlive() {
        let pause = |cron: &str| Schedule::parse(cron, "UTC").unwrap().longest_pause();
        assert_eq!(pause("*/5 * * * *"), 300_000);
        assert_eq!(pause("* * * * *"), 60_000);
        assert_eq!(pause("0 0 * * MON-FRI"), 3 * DAY_MS);
        assert_eq!(pause("*/5 9-17 * * MON-FRI"), 2 * DAY_MS + 15 * 3_600_000 + 300_000);
        assert_eq!(pause("0 0 1 1 *"), 366 * DAY_MS);
        assert_eq!(pause("0 0 31 * *"), 61 * DAY_MS);
        assert_eq!(pause("* * * 6 *"), 336 * DAY_MS + 60_000);
    }

    #[test]
    fn days_that_are_left_out_change_nothing_of_the_longest_pause() {
        for cron in ["*/20 9-17 * * MON-FRI", "0 1,4 * * *", "7 */3 1,15 * *", "0 23 * * *", "30 2 * * SUN"] {
            for zone in ["UTC", "Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kolkata"] {
                let schedule = Schedule::parse(cron, zone).unwrap();
                let ticks = std::iter::successors(schedule.next(LOOK_FROM_MS), |tick| schedule.next(*tick));
                let ticks: Vec<i64> = ticks.take_while(|tick| *tick < LOOK_FROM_MS + LOOKED_AT_MS).collect();
                let longest = ticks.windows(2).map(|pair| pair[1] - pair[0]).max();
                assert_eq!(Some(schedule.longest_pause()), longest, "{cron} {zone}");
            }
        }
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (cron, zone) in [("0 0 * *", "UTC"), ("61 0 * * *", "UTC"), ("0 0 0 * * *", "UTC"), ("0 0 * * *", "Mars")] {
            assert!(Schedule::parse(cron, zone).is_err(), "{cron} {zone}");
        }
        assert!(matches!(Schedule::parse("0 0 30 2 *", "UTC"), Err(InvalidSchedule::Never(_))));
    }
}
