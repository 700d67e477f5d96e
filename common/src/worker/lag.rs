//! Reports how far the sinks of a group are behind: gauges for alerts, and a note beside the readiness of the process for each
//! partition that is stalled. It reports at intervals, not only after commits, and each worker reports all partitions, so that
//! a partition without an owner is seen too.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_core::position::Position;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::log::lag::{SinkLag, lag};
use crate::log::{Group, Log};
use crate::process::Readiness;

/// How often it reports.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// A sink with entries to read commits or retries at least every two seconds. A sink that has not moved for this long is
/// stalled, for whatever reason.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Reports until `shutdown`. While the log does not answer, the last entries are reported, and their age grows.
pub(super) async fn watch(log: Log, group: Group, readiness: Readiness, shutdown: CancellationToken) {
    let mut progress = SinkProgress::default();
    let mut known = Vec::new();
    let mut every = tokio::time::interval(REPORT_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        match lag(&log, group).await {
            Ok(lags) => known = lags,
            Err(error) => tracing::debug!(%error, "lag not known"),
        }
        let now = now_ms();
        known.iter().for_each(|lag| report(group, lag, now));
        readiness.set_note(&progress.stalled(&known, Instant::now(), now).join("\n"));
    }
}

/// The age of the oldest entry that is not in the sink's store.
fn behind(lag: &SinkLag, now: i64) -> Duration {
    let age = lag.next.map_or(0, |next| now - next.stream_time());
    Duration::from_millis(u64::try_from(age).unwrap_or(0))
}

fn report(group: Group, lag: &SinkLag, now: i64) {
    let labels =
        [("group", group.name().to_owned()), ("sink", lag.sink.to_owned()), ("partition", lag.partition.to_string())];
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("millrace_partition_lag_entries", &labels).set(lag.entries as f64);
    metrics::gauge!("millrace_partition_lag_seconds", &labels).set(behind(lag, now).as_secs_f64());
}

/// The position of each sink that has entries to read, and since when it has been there.
#[derive(Default)]
struct SinkProgress(BTreeMap<(u16, &'static str), (Position, Instant)>);

impl SinkProgress {
    /// A line for each sink that is stalled.
    fn stalled(&mut self, lags: &[SinkLag], at: Instant, now: i64) -> Vec<String> {
        let mut lines = Vec::new();
        for lag in lags {
            let place = (lag.partition.0, lag.sink);
            if lag.entries == 0 {
                self.0.remove(&place);
                continue;
            }
            let (position, since) = self.0.entry(place).or_insert((lag.position, at));
            if *position != lag.position {
                (*position, *since) = (lag.position, at);
            }
            let still = at.saturating_duration_since(*since);
            if still >= STALLED_AFTER {
                lines.push(format!(
                    "stalled: partition {} of {}: {} entries wait, the oldest for {} s; no progress for {} s",
                    lag.partition,
                    lag.sink,
                    lag.entries,
                    behind(lag, now).as_secs(),
                    still.as_secs(),
                ));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use millrace_core::partition::Partition;

    use super::*;

    fn waits(partition: u16, at: u64, entries: u64) -> SinkLag {
        let next = (entries > 0).then(|| Position::new(at + 1, 0));
        let position = Position::new(at, 0);
        SinkLag { partition: Partition(partition), sink: "redis", position, entries, next }
    }

    #[test]
    fn a_sink_that_moves_or_has_nothing_to_do_is_not_stalled() {
        let (mut progress, start) = (SinkProgress::default(), Instant::now());
        for second in 0..200 {
            let lags = [waits(0, second, 7), waits(1, 5, 0)];
            assert_eq!(progress.stalled(&lags, start + Duration::from_secs(second), 0), Vec::<String>::new());
        }
    }

    #[test]
    fn a_sink_that_stands_still_before_entries_is_stalled_until_it_moves() {
        let (mut progress, start) = (SinkProgress::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert!(progress.stalled(&[waits(3, 1_000, 0)], at(0), 0).is_empty());
        assert!(progress.stalled(&[waits(3, 1_000, 1)], at(600), 0).is_empty(), "it has only now something to do");
        assert!(progress.stalled(&[waits(3, 1_000, 2)], at(629), 0).is_empty());
        assert_eq!(
            progress.stalled(&[waits(3, 1_000, 9), waits(4, 1, 1)], at(640), 61_001),
            ["stalled: partition 3 of redis: 9 entries wait, the oldest for 60 s; no progress for 40 s"]
        );
        assert!(progress.stalled(&[waits(3, 1_001, 8)], at(641), 0).is_empty());
    }
}
