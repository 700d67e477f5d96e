//! The duplicate rule: an event is ignored iff, within H of stream time before it in its partition (and within the
//! last [`MAX_REMEMBERED`] events with ids), an entry carries the same identity, itself ignored or not.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::position::Position;

/// H: how long, in ms of stream time, an event's id is remembered.
pub const HORIZON_MS: u64 = 5 * 60 * 1_000;
/// How many events with ids are remembered at most: it bounds memory, and is a function of the log too.
pub const MAX_REMEMBERED: usize = 1 << 20;

/// How an event's identity stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen within H: it counts.
    New,
    /// A resend: ignored.
    Duplicate,
    /// The same id with other content: ignored, and a dead letter.
    Conflict,
}

/// The identities of the last H of one partition.
#[derive(Debug)]
pub struct Duplicates {
    horizon_ms: u64,
    limit: usize,
    order: VecDeque<(u128, Position)>,
    seen: FxHashMap<u128, (Position, u64)>,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::new(HORIZON_MS, MAX_REMEMBERED)
    }
}

impl Duplicates {
    /// Remembers `horizon_ms` of stream time, and at most `limit` events.
    pub fn new(horizon_ms: u64, limit: usize) -> Self {
        Self { horizon_ms, limit, order: VecDeque::new(), seen: FxHashMap::default() }
    }

    /// Judges the next entry in log order and remembers it.
    pub fn judge(&mut self, position: Position, identity: u128, content: u64) -> Verdict {
        self.forget(position);
        self.order.push_back((identity, position));
        match self.seen.insert(identity, (position, content)) {
            None => Verdict::New,
            Some((_, before)) if before == content => Verdict::Duplicate,
            Some(_) => Verdict::Conflict,
        }
    }

    /// How many entries are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn forget(&mut self, now: Position) {
        let oldest = now.ms.saturating_sub(self.horizon_ms);
        while let Some((identity, position)) = self.order.front().copied() {
            if position.ms >= oldest && self.order.len() < self.limit {
                return;
            }
            self.order.pop_front();
            // A later entry of the same identity keeps it alive.
            if self.seen.get(&identity).is_some_and(|(last, _)| *last == position) {
                self.seen.remove(&identity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ignored_resend_keeps_its_identity_alive() {
        let mut duplicates = Duplicates::new(10, 100);
        let verdicts: Vec<Verdict> =
            [0, 8, 16, 27].map(|ms| duplicates.judge(Position::new(ms, 0), 7, 1)).into_iter().collect();
        assert_eq!(verdicts, [Verdict::New, Verdict::Duplicate, Verdict::Duplicate, Verdict::New]);
    }

    #[test]
    fn the_same_id_with_other_content_is_a_conflict() {
        let mut duplicates = Duplicates::default();
        assert_eq!(duplicates.judge(Position::new(1, 0), 7, 1), Verdict::New);
        assert_eq!(duplicates.judge(Position::new(2, 0), 7, 2), Verdict::Conflict);
    }

    proptest! {
        /// The obvious twin: look back over the whole list. And starting anywhere, after reading H again, agrees.
        #[test]
        fn the_rule_is_a_function_of_the_log(
            steps in proptest::collection::vec((0u64..8, 0u128..6, 0u64..2), 1..120),
            start in 0usize..120,
        ) {
            let mut ms = 100;
            let log: Vec<(Position, u128, u64)> = steps.iter().enumerate().map(|(index, (step, id, content))| {
                ms += step;
                (Position::new(ms, index as u64), *id, *content)
            }).collect();
            let naive: Vec<bool> = log.iter().enumerate().map(|(index, (at, id, _))| {
                let from = index.saturating_sub(9);
                log[from..index].iter().any(|(p, other, _)| other == id && p.ms + 20 >= at.ms)
            }).collect();
            let start = start.min(log.len());
            let mut duplicates = Duplicates::new(20, 10);
            let rebuilt_from = log[..start].iter().position(|(p, _, _)| start == 0 || p.ms + 20 >= log[start.min(log.len() - 1)].0.ms).unwrap_or(start);
            for (at, id, content) in &log[rebuilt_from..start] {
                duplicates.judge(*at, *id, *content);
            }
            for (index, (at, id, content)) in log.iter().enumerate().skip(start) {
                prop_assert_eq!(duplicates.judge(*at, *id, *content) != Verdict::New, naive[index]);
            }
        }
    }
}
