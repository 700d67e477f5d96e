//! The batches that a leader has judged and its follower has not taken yet.

use std::collections::VecDeque;

use millrace_core::position::Position;

use super::sink::Batch;

/// The most events that are kept for a follower: as many as a batch of its own has.
pub(super) const MOST_KEPT: usize = 10_000;

/// How far the leader is, and the batches that the follower has not taken yet.
#[derive(Debug)]
pub(super) struct KeptBatches {
    /// The position up to which the leader has judged. None before it has begun.
    head: Option<Position>,
    /// Whether the leader is reading. It is not while its store is unavailable.
    reading: bool,
    /// Contiguous, oldest first. Each is of another version of the definitions than the next.
    batches: VecDeque<Batch>,
}

/// The answer to a follower that asks whether the leader has a batch for its position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeaderView {
    /// The oldest batch is the follower's next. `full`: waiting for more would not make it larger.
    Ready { full: bool },
    /// The follower is where the leader is, or the leader has not begun.
    Wait,
    /// The follower must read the log, up to where it meets the leader if that is known.
    Read(Option<Position>),
}

impl KeptBatches {
    /// The leader has not begun.
    pub(super) fn new() -> Self {
        Self { head: None, reading: true, batches: VecDeque::new() }
    }

    /// Sets whether the leader is reading, and returns what was set before.
    pub(super) fn set_reading(&mut self, reading: bool) -> bool {
        std::mem::replace(&mut self.reading, reading)
    }

    /// Hands out the oldest batch.
    pub(super) fn take(&mut self) -> Option<Batch> {
        self.batches.pop_front()
    }

    /// The number of events and dead letters that are kept.
    pub(super) fn weight(&self) -> usize {
        self.batches.iter().map(weight).sum()
    }

    /// The leader begins, perhaps again, after `position`.
    pub(super) fn begin(&mut self, position: Position) {
        if self.batches.back().is_some_and(|last| last.upto != position) {
            self.batches.clear();
        }
        self.head = Some(position);
    }

    /// Keeps a batch for the follower.
    pub(super) fn keep(&mut self, part: Batch) {
        let held = self.weight();
        let contiguous = self.batches.back().is_none_or(|last| last.upto == part.after);
        if !contiguous || held + weight(&part) > MOST_KEPT {
            // The follower reads the log itself, up to where this batch begins.
            self.batches.clear();
        }
        self.head = Some(part.upto);
        match self.batches.back_mut().filter(|last| last.version == part.version) {
            Some(last) => {
                last.upto = part.upto;
                last.read += part.read;
                last.events.extend(part.events);
                last.dead.extend(part.dead);
            }
            None => self.batches.push_back(part),
        }
    }

    /// Looks for a batch for a follower at `position`. `limit` is the number of entries of a full batch. Drops the
    /// batches that the follower has passed.
    pub(super) fn look(&mut self, position: Position, limit: usize) -> LeaderView {
        // A batch that the follower is in the middle of is useless to it: the number of entries left in it is not known.
        while self.batches.front().is_some_and(|first| first.after < position) {
            self.batches.pop_front();
        }
        let begins = self.batches.front().map(|first| first.after);
        match begins.or(self.head) {
            Some(place) if place == position && begins.is_some() => {
                let full = self.batches.len() > 1 || self.batches[0].read >= limit as u64;
                LeaderView::Ready { full }
            }
            Some(place) if place == position && self.reading => LeaderView::Wait,
            None if self.reading => LeaderView::Wait,
            Some(place) if place > position => LeaderView::Read(Some(place)),
            Some(_) | None => LeaderView::Read(None),
        }
    }
}

fn weight(batch: &Batch) -> usize {
    batch.events.len() + batch.dead.len()
}
