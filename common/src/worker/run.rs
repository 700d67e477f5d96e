//! One sink's policy over one partition: what follows each outcome. `decide` is synchronous and needs no runtime.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::owned::{Owned, SinkFence};
use super::share::{Follow, Share};
use super::sink::{Batch, Sink, SinkError};
use super::step::{Place, StepError};
use crate::backoff::BackOff;
use crate::clock::now_ms;
use crate::definitions::DefinitionsCache;
use crate::log::{Advance, Advanced, Log, LogError, RawEntry, SinkCursor, cursor};
use millrace_core::definitions::Store;
use millrace_core::position::Position;

/// The delays while a store is unavailable. A store that is back is noticed within the longest.
const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(100), LONGEST_DELAY);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// How often a trim is asked for; between them an advance costs nothing more.
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// Above this part of `maxmemory` retention yields; well below the part at which ingest refuses events.
const YIELD_ABOVE: f64 = 0.6;
/// How long entries that all groups have passed are kept, while memory allows.
const RETENTION: Duration = Duration::from_secs(3_600);

/// What came of one turn of the loop.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A batch is durable and the cursor moved.
    Advanced,
    /// Nothing to do.
    Idle,
    /// Something is away; the turn can be taken again as it was.
    Away(String),
    /// What is in memory is stale.
    Stale,
    /// The lease is gone.
    Fenced,
    /// Told to stop.
    Stopped,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Pause(Duration),
    Reopen,
    Leave,
}

/// The whole policy.
pub(super) fn decide(outcome: &Outcome, failures: u32) -> Next {
    match outcome {
        Outcome::Advanced | Outcome::Idle => Next::Continue,
        Outcome::Away(_) => Next::Pause(BACK_OFF.delay_after(failures.saturating_sub(1))),
        Outcome::Stale => Next::Reopen,
        Outcome::Fenced | Outcome::Stopped => Next::Leave,
    }
}

/// Works on one partition until told to stop or the lease is lost.
pub async fn run_sink<S: Sink>(sink: S, owned: Owned, cache: DefinitionsCache, stop: CancellationToken) {
    work(sink, &owned, &cache, &stop, Part::Alone).await;
}

/// Two sinks on one partition, which read it once while they can: `follower` absorbs what views of `store` read. Each
/// has its own position, and a store that is away holds up only its own sink.
pub async fn run_pair<L: Sink, F: Sink>(
    leader: L,
    (follower, store): (F, Store),
    owned: Owned,
    cache: DefinitionsCache,
    stop: CancellationToken,
) {
    let share = Share::new(follower.name(), store);
    tokio::join!(
        work(leader, &owned, &cache, &stop, Part::Leads(&share)),
        work(follower, &owned, &cache, &stop, Part::Follows(&share)),
    );
}

async fn work<S: Sink>(mut sink: S, owned: &Owned, cache: &DefinitionsCache, stop: &CancellationToken, part: Part<'_>) {
    let mut failures = 0;
    let mut turn = Turn { owned, cache, part, position: None, place: None, pending: None, trimmed: None };
    loop {
        let outcome = turn.take(&mut sink, stop).await;
        if let Part::Leads(share) = part {
            share.set_reading(!matches!(outcome, Outcome::Away(_)));
        }
        failures = match &outcome {
            Outcome::Away(reason) => {
                if failures == 0 {
                    tracing::warn!(partition = owned.partition.0, sink = sink.name(), reason, "waiting for a store");
                }
                metrics::counter!("millrace_sink_retries_total", "sink" => sink.name()).increment(1);
                failures + 1
            }
            _ if failures > 0 => {
                tracing::info!(partition = owned.partition.0, sink = sink.name(), failures, "the store is back");
                0
            }
            _ => 0,
        };
        match decide(&outcome, failures) {
            Next::Continue => {}
            Next::Pause(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                    () = owned.lost().cancelled() => {}
                }
            }
            Next::Reopen => turn.begin_again(),
            Next::Leave => return,
        }
    }
}

/// Who reads the log for a sink.
#[derive(Clone, Copy)]
enum Part<'o> {
    /// It does.
    Alone,
    /// It does, for a follower too.
    Leads(&'o Share),
    /// Its leader, while they are at the same place.
    Follows(&'o Share),
}

/// What a sink asks of a batch.
struct Wanted {
    sink: &'static str,
    limit: usize,
    linger: Duration,
    far_behind: usize,
}

impl Wanted {
    fn by(sink: &impl Sink) -> Self {
        let (limit, linger) = sink.limits();
        Self { sink: sink.name(), limit, linger, far_behind: sink.far_behind() }
    }
}

/// What came of waiting for entries.
enum Found {
    Read(Vec<RawEntry>),
    Judged(Batch),
}

/// What lives from one turn to the next: a batch that is not durable yet is kept as it is.
struct Turn<'o> {
    owned: &'o Owned,
    cache: &'o DefinitionsCache,
    part: Part<'o>,
    /// Everything up to here is durable; none: to be looked up.
    position: Option<Position>,
    /// For reading at that position; a follower has it only while it reads for itself.
    place: Option<Place>,
    pending: Option<Batch>,
    trimmed: Option<tokio::time::Instant>,
}

impl Turn<'_> {
    async fn take<S: Sink>(&mut self, sink: &mut S, stop: &CancellationToken) -> Outcome {
        if self.owned.lost().is_cancelled() {
            return Outcome::Fenced;
        }
        if stop.is_cancelled() && self.pending.is_none() {
            return Outcome::Stopped;
        }
        match self.step(sink, stop).await {
            Ok(outcome) => outcome,
            Err(TurnError::Sink(SinkError::Fenced)) => Outcome::Fenced,
            Err(TurnError::Sink(SinkError::Stale)) => Outcome::Stale,
            // A stop does not wait for a store that is away: the cursor has not moved, so nothing is lost.
            Err(_) if stop.is_cancelled() => Outcome::Stopped,
            Err(TurnError::Sink(error @ SinkError::Transient { .. })) => Outcome::Away(error.to_string()),
            Err(TurnError::Step(error)) => {
                self.begin_again();
                Outcome::Away(error.to_string())
            }
        }
    }

    async fn step<S: Sink>(&mut self, sink: &mut S, stop: &CancellationToken) -> Result<Outcome, TurnError> {
        let fence = SinkFence { owned: self.owned, sink: sink.name() };
        let position = match self.position {
            Some(position) => position,
            None => self.begin(sink, &fence).await?,
        };
        if self.pending.is_none() {
            let (owned, wanted) = (self.owned, Wanted::by(sink));
            // The only wait that a stop may cut short.
            let found = tokio::select! {
                found = self.wait(wanted, position) => found?,
                () = stop.cancelled() => return Ok(Outcome::Stopped),
                () = owned.lost().cancelled() => return Ok(Outcome::Fenced),
            };
            self.pending = match (found, &mut self.place) {
                (Found::Judged(batch), _) => Some(batch),
                (Found::Read(entries), Some(place)) if !entries.is_empty() => Some(place.judge(entries).await?),
                _ => return Ok(Outcome::Idle),
            };
            if let (Part::Leads(share), Some(batch)) = (self.part, &self.pending) {
                share.offer(batch);
            }
        }
        let Some(batch) = &self.pending else { return Ok(Outcome::Idle) };
        let started = tokio::time::Instant::now();
        let late = sink.commit(batch, &fence).await?;
        let outcome = self.advance(sink.name(), late).await?;
        metrics::histogram!("millrace_batch_commit_seconds", "sink" => sink.name())
            .record(started.elapsed().as_secs_f64());
        Ok(outcome)
    }

    /// Begins where the cursor stands.
    async fn begin<S: Sink>(&mut self, sink: &mut S, fence: &SinkFence<'_>) -> Result<Position, TurnError> {
        let cursor = stored_cursor(self.owned, sink.name()).await?;
        sink.begin(&cursor, fence).await?;
        if let Part::Leads(share) = self.part {
            share.begin(cursor.position);
        }
        self.position = Some(cursor.position);
        Ok(cursor.position)
    }

    /// What is in memory is no longer to be relied on.
    fn begin_again(&mut self) {
        (self.position, self.place, self.pending) = (None, None, None);
    }

    /// Waits for what follows `position`: read here, or judged by the leader already.
    async fn wait(&mut self, wanted: Wanted, position: Position) -> Result<Found, StepError> {
        let Wanted { sink, limit, linger, far_behind } = wanted;
        let mut meet = None;
        if let Part::Follows(share) = self.part {
            match share.follow(position, limit, linger).await {
                Follow::Read(upto) => meet = upto,
                Follow::Take(batch) => {
                    self.place = None;
                    return Ok(Found::Judged(batch));
                }
            }
        }
        let place = match &mut self.place {
            Some(place) => place,
            none => {
                let Owned { log, partition, group, .. } = self.owned;
                none.insert(Place::open(log, self.cache, *partition, *group, sink, position).await?)
            }
        };
        let mut entries = place.gather_far(limit, linger, far_behind).await?;
        let before = meet.map_or(0, |meet| entries.partition_point(|entry| entry.position <= meet));
        if before > 0 {
            entries.truncate(before);
        }
        Ok(Found::Read(entries))
    }

    async fn advance(
        &mut self,
        sink: &'static str,
        more_dead: Vec<crate::log::DeadLetter>,
    ) -> Result<Outcome, TurnError> {
        let Some(batch) = &mut self.pending else { return Ok(Outcome::Idle) };
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
            Advanced::Fenced => return Ok(Outcome::Fenced),
            // The answer of an earlier attempt was lost.
            Advanced::Moved(position) if position == batch.upto => {}
            Advanced::Moved(_) => return Ok(Outcome::Stale),
            Advanced::Done => {}
        }
        if due {
            self.trimmed = Some(tokio::time::Instant::now());
        }
        metrics::counter!("millrace_entries_processed_total", "sink" => sink).increment(batch.read);
        metrics::counter!("millrace_dead_letters_total", "sink" => sink).increment(dead.len() as u64);
        self.position = Some(batch.upto);
        if let Some(place) = &mut self.place {
            place.position = batch.upto;
        }
        self.pending = None;
        Ok(Outcome::Advanced)
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

/// The batch is durable; only the cursor's answer is missing. Committing it again is harmless.
fn retry_same_batch(error: LogError) -> TurnError {
    TurnError::Sink(SinkError::Transient { store: "the log", reason: error.to_string() })
}

/// Up to where entries may go. Under memory pressure all that no sink needs any more; Redis keeps what they need.
async fn trim_start(log: &Log) -> Position {
    let pressed = log.pressure().await.is_ok_and(|pressure| pressure.ratio() > YIELD_ABOVE);
    let kept = if pressed { 0 } else { u64::try_from(RETENTION.as_millis()).unwrap_or(u64::MAX) };
    Position::new(u64::try_from(now_ms()).unwrap_or(0).saturating_sub(kept), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let away = Outcome::Away(String::new());
        assert_eq!(decide(&away, 1), Next::Pause(Duration::from_millis(100)));
        assert_eq!(decide(&away, 2), Next::Pause(Duration::from_millis(200)));
        assert_eq!(decide(&away, 50), Next::Pause(LONGEST_DELAY));
    }

    #[test]
    fn a_stale_memory_is_read_again_and_a_lost_lease_is_left() {
        assert_eq!(decide(&Outcome::Stale, 0), Next::Reopen);
        assert_eq!(decide(&Outcome::Fenced, 0), Next::Leave);
        assert_eq!(decide(&Outcome::Idle, 3), Next::Continue);
    }
}
