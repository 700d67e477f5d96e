//! One batch: gather what the log has, judge it, and cut it where the definitions change.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::codec::ENGINE;
use millrace_core::dedupe::{Duplicates, HORIZON_MS, MAX_REMEMBERED};
use millrace_core::definitions::Definitions;
use millrace_core::entry::Control;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use tokio::time::Instant;

use super::judge::{Fate, Judge};
use super::sink::Batch;
use crate::clock::now_ms;
use crate::definitions::{DefinitionsCache, DefinitionsError};
use crate::log::{DeadLetter, Group, Log, LogError, RawEntry, Reader, registry};

/// Entries per call when the duplicate window is read again.
const REBUILD_CHUNK: usize = 10_000;
/// The longest single wait at the log; a stop is noticed at once all the same.
const BLOCK: Duration = Duration::from_secs(1);

/// One sink's place in one partition: everything that a new owner rebuilds.
pub(super) struct Place {
    log: Log,
    reader: Reader,
    judge: Judge,
    definitions: Arc<Definitions>,
    version: u32,
    cache: DefinitionsCache,
    partition: Partition,
    group: Group,
    sink: &'static str,
    /// Everything up to here is durable.
    pub(super) position: Position,
    /// Entries that were gathered behind a change of definitions: they make the next batch, at once.
    unjudged: Vec<RawEntry>,
    /// When a batch that was not full was last handed out.
    short_batch: Option<Instant>,
}

/// Why no batch could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// Entries beyond this point mean something that this binary does not know.
    #[error("the definitions at {position} need engine {needed}, this binary has {ENGINE}; run a newer one")]
    EngineTooOld { position: Position, needed: u32 },
}

impl Place {
    /// Starts after `position`: finds what is in force there and reads the duplicate window before it again.
    pub(super) async fn open(
        log: &Log,
        cache: &DefinitionsCache,
        partition: Partition,
        group: Group,
        sink: &'static str,
        position: Position,
    ) -> Result<Self, StepError> {
        let in_force = registry::in_force(log, partition).await?;
        let last = in_force.iter().rev().find(|row| row.position <= position);
        if let Some(row) = last.filter(|row| row.engine > ENGINE) {
            return Err(StepError::EngineTooOld { position: row.position, needed: row.engine });
        }
        let version = last.map_or(0, |row| row.version);
        let mut reader = Reader::open(log, partition).await?;
        let mut judge = Judge::new(partition, log.meta().partitions, Duplicates::default());
        for entry in duplicate_window(&mut reader, position).await? {
            judge.remember(entry);
        }
        let definitions = cache.get(version).await?;
        Ok(Self {
            log: log.clone(),
            reader,
            judge,
            definitions,
            version,
            cache: cache.clone(),
            partition,
            group,
            sink,
            position,
            unjudged: Vec::new(),
            short_batch: None,
        })
    }

    /// Reads until `limit` entries are there or [`patience`] has run out. An empty answer is no error: nothing came
    /// within a second.
    pub(super) async fn gather(&mut self, limit: usize, linger: Duration) -> Result<Vec<RawEntry>, StepError> {
        if !self.unjudged.is_empty() {
            return Ok(std::mem::take(&mut self.unjudged));
        }
        let mut entries = self.reader.read(self.position, limit, BLOCK).await?;
        let Some(first) = entries.first() else { return Ok(entries) };
        let age = Duration::from_millis(u64::try_from(now_ms() - first.position.stream_time()).unwrap_or(0));
        let deadline = Instant::now() + patience(linger, age, self.short_batch.map(|at| at.elapsed()));
        while entries.len() < limit {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(last) = entries.last().map(|entry| entry.position).filter(|_| !left.is_zero()) else { break };
            entries.extend(self.reader.read(last, limit - entries.len(), left.min(BLOCK)).await?);
        }
        if entries.len() < limit {
            self.short_batch = Some(Instant::now());
        }
        Ok(entries)
    }

    /// As [`Place::gather`]; where that found as many as it may, reads on to `far` entries, as long as the log has them.
    pub(super) async fn gather_far(
        &mut self,
        limit: usize,
        linger: Duration,
        far: usize,
    ) -> Result<Vec<RawEntry>, StepError> {
        let mut entries = self.gather(limit, linger).await?;
        let mut full = entries.len() >= limit;
        while let Some(last) = entries.last().map(|entry| entry.position).filter(|_| full && entries.len() < far) {
            let wanted = limit.min(far - entries.len());
            let more = self.reader.read(last, wanted, Duration::ZERO).await?;
            full = more.len() == wanted;
            entries.extend(more);
        }
        Ok(entries)
    }

    /// Judges entries in order, up to the first change of definitions. What lies behind it is kept for the next batch.
    pub(super) async fn judge(&mut self, entries: Vec<RawEntry>) -> Result<Batch, StepError> {
        let mut batch = Batch {
            partition: self.partition,
            after: self.position,
            upto: self.position,
            read: 0,
            definitions: self.definitions.clone(),
            version: self.version,
            events: Vec::with_capacity(entries.len()),
            dead: Vec::new(),
        };
        let mut duplicates = 0;
        let mut entries = entries.into_iter();
        for entry in entries.by_ref() {
            let (position, fate) = self.judge.judge(entry, &self.definitions);
            batch.upto = position;
            batch.read += 1;
            match fate {
                Fate::Counts(event) => batch.events.push((position, event)),
                Fate::Duplicate => duplicates += 1,
                Fate::Dead { reason, event_id, raw } => batch.dead.push(self.dead(position, reason, event_id, raw)),
                Fate::Control(control) if is_in_force(&self.log, self.partition, position, control).await? => {
                    self.change(position, control).await?;
                    break;
                }
                Fate::Control(Control { version, engine }) => {
                    let reason = "a control entry that `apply` did not write".to_owned();
                    let raw = format!("control definitions version {version} engine {engine}");
                    batch.dead.push(self.dead(position, reason, None, raw));
                }
            }
        }
        self.unjudged = entries.collect();
        metrics::counter!("millrace_duplicates_ignored_total", "sink" => self.sink).increment(duplicates);
        Ok(batch)
    }

    async fn change(&mut self, position: Position, control: Control) -> Result<(), StepError> {
        if control.engine > ENGINE {
            return Err(StepError::EngineTooOld { position, needed: control.engine });
        }
        self.definitions = self.cache.get(control.version).await?;
        self.version = control.version;
        tracing::debug!(
            partition = self.partition.0,
            sink = self.sink,
            version = control.version,
            "definitions in force"
        );
        Ok(())
    }

    fn dead(&self, position: Position, reason: String, event_id: Option<String>, raw: String) -> DeadLetter {
        DeadLetter {
            group: self.group.name().to_owned(),
            sink: self.sink.to_owned(),
            view: None,
            key: None,
            position,
            event_id,
            reason,
            raw,
        }
    }
}

/// How long a batch that is not full waits for more: until its first entry is `linger` old by stream time, and until
/// `linger` after the last batch that went out short, whichever is later.
///
/// So entries of a backlog, long old, are not kept waiting: its end goes out at once behind the full batches before it.
/// Who keeps up sends one short batch every `linger` and no entry waits longer than that. The same bound holds whatever
/// the first rule says: where Redis's clock is behind ours, or a slow store makes every entry old before it is read.
fn patience(linger: Duration, age_of_first: Duration, since_short: Option<Duration>) -> Duration {
    let young = linger.saturating_sub(age_of_first);
    let crowded = since_short.map_or(Duration::ZERO, |since| linger.saturating_sub(since));
    young.max(crowded)
}

/// Whether the table beside the log says so too. `apply` writes both in one step; anybody could write the entry.
async fn is_in_force(log: &Log, partition: Partition, position: Position, control: Control) -> Result<bool, StepError> {
    let rows = registry::in_force(log, partition).await?;
    let Control { version, engine } = control;
    Ok(rows.iter().any(|row| row.position == position && row.version == version && row.engine == engine))
}

/// The entries within H before and at `position`, oldest first, at most as many as are remembered.
async fn duplicate_window(reader: &mut Reader, position: Position) -> Result<Vec<RawEntry>, StepError> {
    let oldest = position.ms.saturating_sub(HORIZON_MS);
    let mut window = Vec::new();
    let mut before = position;
    while position > Position::ZERO && window.len() < MAX_REMEMBERED {
        let chunk = reader.range_back(before, REBUILD_CHUNK).await?;
        let full = chunk.len() == REBUILD_CHUNK;
        let reached = chunk.last().map(|entry| entry.position);
        window.extend(chunk.into_iter().filter(|entry| entry.position.ms >= oldest));
        match reached {
            Some(last) if full && last.ms >= oldest && last > Position::ZERO => before = last.previous(),
            _ => break,
        }
    }
    window.reverse();
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(3_600);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_end_of_a_backlog_goes_out_at_once() {
        assert_eq!(patience(LINGER, LONG, None), Duration::ZERO);
        assert_eq!(patience(LINGER, LONG, Some(LONG)), Duration::ZERO);
    }

    #[test]
    fn no_entry_waits_longer_than_the_linger() {
        assert_eq!(patience(LINGER, ms(0), Some(LONG)), LINGER);
        assert_eq!(patience(LINGER, ms(300), Some(LONG)), ms(1_700));
        // Read after an insert that took 300 ms: it came 100 ms before the end of that.
        assert_eq!(patience(LINGER, ms(100), Some(ms(300))), ms(1_900));
    }

    #[test]
    fn short_batches_are_a_linger_apart_whatever_the_clocks_say() {
        for age in [ms(0), ms(1_999), LINGER, LONG] {
            for since in [ms(0), ms(1), ms(500), ms(1_999)] {
                let next = since + patience(LINGER, age, Some(since));
                assert!(next >= LINGER && next <= since + LINGER, "age {age:?}, since {since:?}: {next:?}");
            }
        }
    }

    #[test]
    fn a_sink_that_does_not_linger_never_waits() {
        assert_eq!(patience(Duration::ZERO, ms(0), Some(ms(0))), Duration::ZERO);
    }
}
