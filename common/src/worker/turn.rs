//! One turn of a sink's loop: gather entries, judge them, commit the batch, advance the cursor. The policy between turns is
//! left to `policy`.

use std::time::Duration;

use millrace_core::position::Position;
use tokio_util::sync::CancellationToken;

use super::batch_reader::{BatchReader, StepError};
use super::owned::{Owned, SinkFence};
use super::policy::TurnOutcome;
use super::share::{Follow, SharedReading};
use super::sink::{Batch, BatchLimits, Sink, SinkError};
use crate::clock::now_ms;
use crate::definitions::DefinitionsCache;
use crate::log::{Advance, Advanced, Log, LogError, RawEntry, SinkCursor, cursor};

/// How often an advance also trims.
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// Retention yields above this part of `maxmemory`, well below the part at which ingest refuses events.
const YIELD_ABOVE: f64 = 0.6;
/// How long the entries that all groups have passed are kept while memory allows.
const RETENTION: Duration = Duration::from_secs(3_600);

/// Whether a sink reads the log itself.
#[derive(Clone, Copy)]
pub(super) enum Reads<'o> {
    /// It reads for itself.
    Alone,
    /// It reads for itself and for a follower.
    Leads(&'o SharedReading),
    /// Its leader reads for it, while both are at the same position.
    Follows(&'o SharedReading),
}

/// The input of a turn.
enum Gathered {
    /// Entries that are to be judged.
    Read(Vec<RawEntry>),
    /// A batch that the leader has judged.
    Judged(Batch),
}

/// The state of a sink's loop from one turn to the next. A batch that is not durable yet is kept as it is.
pub(super) struct Turn<'o> {
    owned: &'o Owned,
    cache: &'o DefinitionsCache,
    reads: Reads<'o>,
    /// Everything up to here is durable. None: the stored cursor must be read.
    position: Option<Position>,
    /// Reads at that position. A follower has it only while it reads for itself.
    reader: Option<BatchReader>,
    pending: Option<Batch>,
    trimmed: Option<tokio::time::Instant>,
}

impl<'o> Turn<'o> {
    /// Nothing is known yet.
    pub(super) fn new(owned: &'o Owned, cache: &'o DefinitionsCache, reads: Reads<'o>) -> Self {
        Self { owned, cache, reads, position: None, reader: None, pending: None, trimmed: None }
    }

    /// Takes one turn.
    pub(super) async fn take<S: Sink>(&mut self, sink: &mut S, stop: &CancellationToken) -> TurnOutcome {
        if self.owned.lost().is_cancelled() {
            return TurnOutcome::Fenced;
        }
        if stop.is_cancelled() && self.pending.is_none() {
            return TurnOutcome::Stopped;
        }
        match self.step(sink, stop).await {
            Ok(outcome) => outcome,
            Err(TurnError::Sink(SinkError::Fenced)) => TurnOutcome::Fenced,
            Err(TurnError::Sink(SinkError::Stale)) => TurnOutcome::Stale,
            // A stop does not wait for a store that is unavailable: the cursor has not moved, so nothing is lost.
            Err(_) if stop.is_cancelled() => TurnOutcome::Stopped,
            Err(TurnError::Sink(error @ SinkError::Transient { .. })) => TurnOutcome::Unavailable(error.to_string()),
            Err(TurnError::Step(error)) => {
                self.begin_again();
                TurnOutcome::Unavailable(error.to_string())
            }
        }
    }

    async fn step<S: Sink>(&mut self, sink: &mut S, stop: &CancellationToken) -> Result<TurnOutcome, TurnError> {
        let fence = SinkFence { owned: self.owned, sink: sink.name() };
        let position = match self.position {
            Some(position) => position,
            None => self.begin(sink, &fence).await?,
        };
        if self.pending.is_none() {
            let (owned, name, limits) = (self.owned, sink.name(), sink.limits());
            // This is the only wait that a stop may cut short.
            let found = tokio::select! {
                found = self.wait(name, limits, position) => found?,
                () = stop.cancelled() => return Ok(TurnOutcome::Stopped),
                () = owned.lost().cancelled() => return Ok(TurnOutcome::Fenced),
            };
            self.pending = match (found, &mut self.reader) {
                (Gathered::Judged(batch), _) => Some(batch),
                (Gathered::Read(entries), Some(reader)) if !entries.is_empty() => Some(reader.judge(entries).await?),
                (Gathered::Read(_), _) => return Ok(TurnOutcome::Idle),
            };
            if let (Reads::Leads(share), Some(batch)) = (self.reads, &self.pending) {
                share.offer(batch);
            }
        }
        let Some(batch) = &self.pending else { return Ok(TurnOutcome::Idle) };
        let started = tokio::time::Instant::now();
        let dead = sink.commit(batch, &fence).await?;
        let outcome = self.advance(sink.name(), dead).await?;
        metrics::histogram!("millrace_batch_commit_seconds", "sink" => sink.name())
            .record(started.elapsed().as_secs_f64());
        Ok(outcome)
    }

    /// Begins where the cursor stands.
    async fn begin<S: Sink>(&mut self, sink: &mut S, fence: &SinkFence<'_>) -> Result<Position, TurnError> {
        let cursor = stored_cursor(self.owned, sink.name()).await?;
        sink.begin(&cursor, fence).await?;
        if let Reads::Leads(share) = self.reads {
            share.begin(cursor.position);
        }
        self.position = Some(cursor.position);
        Ok(cursor.position)
    }

    /// Forgets the state in memory, which may be stale.
    pub(super) fn begin_again(&mut self) {
        (self.position, self.reader, self.pending) = (None, None, None);
    }

    /// Waits for what follows `position`: entries that are read here, or a batch that the leader has judged.
    async fn wait(
        &mut self,
        sink: &'static str,
        limits: BatchLimits,
        position: Position,
    ) -> Result<Gathered, StepError> {
        let BatchLimits { entries: limit, linger, far_behind } = limits;
        let mut meet = None;
        if let Reads::Follows(share) = self.reads {
            match share.follow(position, limit, linger).await {
                Follow::Read(upto) => meet = upto,
                Follow::Take(batch) => {
                    self.reader = None;
                    return Ok(Gathered::Judged(batch));
                }
            }
        }
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let Owned { log, partition, group, .. } = self.owned;
                none.insert(BatchReader::open(log, self.cache, *partition, *group, sink, position).await?)
            }
        };
        let mut entries = reader.gather_far(limit, linger, far_behind).await?;
        let before = meet.map_or(0, |meet| entries.partition_point(|entry| entry.position <= meet));
        if before > 0 {
            entries.truncate(before);
        }
        Ok(Gathered::Read(entries))
    }

    async fn advance(
        &mut self,
        sink: &'static str,
        more_dead: Vec<crate::log::DeadLetter>,
    ) -> Result<TurnOutcome, TurnError> {
        let Some(batch) = &mut self.pending else { return Ok(TurnOutcome::Idle) };
        let dead: Vec<_> = batch.dead.iter().cloned().chain(more_dead).collect();
        let due = self.trimmed.is_none_or(|at| at.elapsed() >= TRIM_EVERY);
        let trim_to = if due { Some(trim_start(&self.owned.log).await) } else { None };
        let advance = Advance {
            partition: batch.partition,
            group: self.owned.group,
            token: self.owned.token(),
            sink,
            from: batch.after,
            to: batch.upto,
            entries: batch.read,
            trim_to,
            dead: &dead,
        };
        let advanced = match cursor::advance(&self.owned.log, &advance).await {
            Ok(advanced) => advanced,
            Err(error) => return Err(retry_same_batch(error)),
        };
        match advanced {
            Advanced::Fenced => return Ok(TurnOutcome::Fenced),
            // The answer of an earlier attempt was lost.
            Advanced::Moved(position) if position == batch.upto => {}
            Advanced::Moved(_) => return Ok(TurnOutcome::Stale),
            Advanced::Done => {}
        }
        if due {
            self.trimmed = Some(tokio::time::Instant::now());
        }
        metrics::counter!("millrace_entries_processed_total", "sink" => sink).increment(batch.read);
        metrics::counter!("millrace_dead_letters_total", "sink" => sink).increment(dead.len() as u64);
        self.position = Some(batch.upto);
        if let Some(reader) = &mut self.reader {
            reader.position = batch.upto;
        }
        self.pending = None;
        Ok(TurnOutcome::Advanced)
    }
}

#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Step(#[from] StepError),
}

async fn stored_cursor(owned: &Owned, sink: &str) -> Result<SinkCursor, StepError> {
    let cursors = cursor::positions(&owned.log, owned.partition, owned.group).await?;
    Ok(cursors.get(sink).cloned().unwrap_or_default())
}

/// The error for an `advance` without an answer. The batch is durable, and committing it again is harmless.
fn retry_same_batch(error: LogError) -> TurnError {
    TurnError::Sink(SinkError::Transient { store: "the log", reason: error.to_string() })
}

/// The position up to which entries may be trimmed: under memory pressure all that no sink needs any more. The function
/// keeps the ones that they need.
async fn trim_start(log: &Log) -> Position {
    let pressed = log.pressure().await.is_ok_and(|pressure| pressure.ratio() > YIELD_ABOVE);
    let kept = if pressed { 0 } else { u64::try_from(RETENTION.as_millis()).unwrap_or(u64::MAX) };
    Position::new(u64::try_from(now_ms()).unwrap_or(0).saturating_sub(kept), 0)
}
