//! The loop of one sink, or of two that share a reading, over one partition: take a turn, and do what the policy says.

use millrace_core::definitions::Store;
use tokio_util::sync::CancellationToken;

use super::owned::Owned;
use super::policy::{NextStep, TurnOutcome, decide};
use super::share::SharedReading;
use super::sink::Sink;
use super::turn::{Reads, Turn};
use crate::definitions::DefinitionsCache;

/// Works on one partition until told to stop or the lease is lost.
pub async fn run_sink<S: Sink>(sink: S, owned: Owned, cache: DefinitionsCache, stop: CancellationToken) {
    work(sink, &owned, &cache, &stop, Reads::Alone).await;
}

/// Works on one partition with two sinks, which read it once while they can. `follower` absorbs the events that views of
/// `store` read. Each sink has a position of its own, so a store that is unavailable holds up only its own sink.
pub async fn run_pair<L: Sink, F: Sink>(
    leader: L,
    (follower, store): (F, Store),
    owned: Owned,
    cache: DefinitionsCache,
    stop: CancellationToken,
) {
    let share = SharedReading::new(follower.name(), store);
    tokio::join!(
        work(leader, &owned, &cache, &stop, Reads::Leads(&share)),
        work(follower, &owned, &cache, &stop, Reads::Follows(&share)),
    );
}

async fn work<S: Sink>(
    mut sink: S,
    owned: &Owned,
    cache: &DefinitionsCache,
    stop: &CancellationToken,
    reads: Reads<'_>,
) {
    let mut failures = 0;
    let mut turn = Turn::new(owned, cache, reads);
    loop {
        let outcome = turn.take(&mut sink, stop).await;
        if let Reads::Leads(share) = reads {
            share.set_reading(!matches!(outcome, TurnOutcome::Unavailable(_)));
        }
        failures = count_failures(failures, &outcome, owned, sink.name());
        match decide(&outcome, failures) {
            NextStep::Continue => {}
            NextStep::Pause(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                    () = owned.lost().cancelled() => {}
                }
            }
            NextStep::Reopen => turn.begin_again(),
            NextStep::Leave => return,
        }
    }
}

/// Counts the failures in a row, and logs the first of them and the success after them.
fn count_failures(failures: u32, outcome: &TurnOutcome, owned: &Owned, sink: &'static str) -> u32 {
    let partition = owned.partition.0;
    if let TurnOutcome::Unavailable(reason) = outcome {
        if failures == 0 {
            tracing::warn!(partition, sink, reason, "waiting for a store");
        }
        metrics::counter!("millrace_sink_retries_total", "sink" => sink).increment(1);
        return failures + 1;
    }
    if failures > 0 {
        tracing::info!(partition, sink, failures, "the store is back");
    }
    0
}
