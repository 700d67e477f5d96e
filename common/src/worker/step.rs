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

use super::definitions::{DefinitionsCache, DefinitionsError};
use super::judge::{Fate, Judge};
use super::sink::Batch;
use crate::log::{DeadLetter, Group, Log, LogError, RawEntry, Reader, registry};

/// Entries per call when the duplicate window is read again.
const REBUILD_CHUNK: usize = 10_000;
/// The longest single wait at the log; a stop is noticed at once all the same.
const BLOCK: Duration = Duration::from_secs(1);

/// One sink's place in one partition: everything that a new owner rebuilds.
pub(super) struct Place {
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
        Ok(Self { reader, judge, definitions, version, cache: cache.clone(), partition, group, sink, position })
    }

    /// Reads until `limit` entries are there or `linger` has passed since the first came. An empty answer is no
    /// error: nothing came within a second.
    pub(super) async fn gather(&mut self, limit: usize, linger: Duration) -> Result<Vec<RawEntry>, StepError> {
        let mut entries = self.reader.read(self.position, limit, BLOCK).await?;
        let Some(deadline) = (!entries.is_empty()).then(|| Instant::now() + linger) else { return Ok(entries) };
        while entries.len() < limit {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(last) = entries.last().map(|entry| entry.position).filter(|_| !left.is_zero()) else { break };
            entries.extend(self.reader.read(last, limit - entries.len(), left.min(BLOCK)).await?);
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

    /// Judges entries in order, up to the first change of definitions. What lies behind it is read again.
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
        for entry in entries {
            let (position, fate) = self.judge.judge(entry, &self.definitions);
            batch.upto = position;
            batch.read += 1;
            match fate {
                Fate::Counts(event) => batch.events.push((position, event)),
                Fate::Duplicate => duplicates += 1,
                Fate::Dead { reason, event_id, raw } => batch.dead.push(self.dead(position, reason, event_id, raw)),
                Fate::Control(control) => {
                    self.change(position, control).await?;
                    break;
                }
            }
        }
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
