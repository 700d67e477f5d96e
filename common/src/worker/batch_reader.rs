//! Makes the batches of one sink in one partition: gathers the entries that the log has, judges them, and cuts a batch where
//! the definitions change.

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
use super::linger::patience;
use super::sink::Batch;
use crate::clock::now_ms;
use crate::definitions::{DefinitionsCache, DefinitionsError};
use crate::log::{DeadLetter, Group, Log, LogError, RawEntry, Reader, registry};

/// The entries per call when the duplicate window is read again.
const REBUILD_CHUNK: usize = 10_000;
/// The longest single wait for entries. A stop is noticed at once all the same.
const BLOCK: Duration = Duration::from_secs(1);

/// Reads one partition for one sink: everything here is rebuilt by a new owner.
pub(super) struct BatchReader {
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
    /// Entries behind a change of the definitions, which make the next batch at once.
    unjudged: Vec<RawEntry>,
    /// The time of the last batch that was not full.
    short_batch: Option<Instant>,
}

/// Why there is no batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The entries from this position on have a meaning that this binary does not know.
    #[error("the definitions at {position} need engine {needed}, but this binary has {ENGINE}; run a newer one")]
    EngineTooOld { position: Position, needed: u32 },
}

impl BatchReader {
    /// Starts after `position`: finds the definitions in force there and reads the duplicate window before it again.
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

    /// Reads until `limit` entries are there or [`patience`] has run out. Returns an empty list where none came within a
    /// second.
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

    /// As [`BatchReader::gather`]. If that found `limit` entries, reads on to `far` entries while the log has more.
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

    /// Judges entries in order, up to the first change of the definitions. The entries behind it are kept for the next
    /// batch.
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

/// Whether the table beside the log has the same row. `apply` writes both in one step; an entry alone could come from
/// anywhere.
async fn is_in_force(log: &Log, partition: Partition, position: Position, control: Control) -> Result<bool, StepError> {
    let rows = registry::in_force(log, partition).await?;
    let Control { version, engine } = control;
    Ok(rows.iter().any(|row| row.position == position && row.version == version && row.engine == engine))
}

/// The entries within H up to and including `position`, oldest first, at most as many as are remembered.
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
