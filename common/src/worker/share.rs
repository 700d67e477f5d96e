//! One reading of a partition for two sinks. The leader reads and judges; what its follower's views absorb of that is
//! kept here until the follower takes it. Neither waits for the other's store: a leader never waits for its follower,
//! and a follower whose leader's store is away, or that was away too long itself, reads the log until the two meet
//! again. Whoever reads finds the same, because an entry's fate is a function of the log.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_core::definitions::{Definitions, Store};
use millrace_core::event::Event;
use millrace_core::position::Position;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::sink::Batch;
use crate::log::DeadLetter;

/// How many events are kept for a follower: as many as one batch of its own.
const KEPT: usize = 10_000;

/// Between one leader and one follower.
pub(super) struct Share {
    /// The follower's name, for its dead letters.
    sink: &'static str,
    /// It absorbs events that a view of this store reads.
    store: Store,
    state: Mutex<State>,
    changed: Notify,
}

/// What a follower does next.
#[derive(Debug)]
pub(super) enum Follow {
    /// Takes this: the leader has judged it.
    Take(Batch),
    /// Reads for itself, up to where it meets the leader, or until it does.
    Read(Option<Position>),
}

/// The leader's place, and what it has judged since the follower last took something.
#[derive(Debug)]
struct State {
    /// Up to where the leader has judged; none before it has begun.
    head: Option<Position>,
    /// Whether the leader is reading: it is not while its store is away.
    reading: bool,
    /// Contiguous, oldest first; versions of the definitions differ from one to the next.
    kept: VecDeque<Batch>,
}

#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// The first of what is kept is the follower's next; whether it is worth no more waiting.
    Ready { full: bool },
    /// The follower is where the leader is, or the leader has not begun.
    Wait,
    /// As [`Follow::Read`].
    Read(Option<Position>),
}

impl Share {
    pub(super) fn new(sink: &'static str, store: Store) -> Self {
        let state = State { head: None, reading: true, kept: VecDeque::new() };
        Self { sink, store, state: Mutex::new(state), changed: Notify::new() }
    }

    /// The leader begins, perhaps again, after `position`.
    pub(super) fn begin(&self, position: Position) {
        self.state.lock().begin(position);
        self.changed.notify_one();
    }

    /// The leader has judged this.
    pub(super) fn offer(&self, batch: &Batch) {
        let part = self.part(batch);
        self.state.lock().keep(part);
        self.changed.notify_one();
    }

    /// Whether the leader is reading, after each of its turns.
    pub(super) fn set_reading(&self, reading: bool) {
        let before = std::mem::replace(&mut self.state.lock().reading, reading);
        if before != reading {
            self.changed.notify_one();
        }
    }

    /// Waits for what follows `position`. More is gathered for `linger`, up to about `limit` entries. Safe to drop.
    pub(super) async fn follow(&self, position: Position, limit: usize, linger: Duration) -> Follow {
        let mut due = None;
        loop {
            let look = self.state.lock().look(position, limit);
            match look {
                Look::Read(upto) => return Follow::Read(upto),
                Look::Wait => self.changed.notified().await,
                Look::Ready { full } => {
                    let due = *due.get_or_insert_with(|| Instant::now() + linger);
                    let enough = full || Instant::now() >= due;
                    if let Some(batch) = enough.then(|| self.state.lock().kept.pop_front()).flatten() {
                        return Follow::Take(batch);
                    }
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = sleep_until(due) => {}
                    }
                }
            }
        }
    }

    /// The same range, with only the events that the follower absorbs.
    fn part(&self, batch: &Batch) -> Batch {
        let absorbs = |(_, event): &&(Position, Event)| absorbs(&batch.definitions, self.store, event);
        let letter = |letter: &DeadLetter| DeadLetter { sink: self.sink.to_owned(), ..letter.clone() };
        Batch {
            partition: batch.partition,
            after: batch.after,
            upto: batch.upto,
            read: batch.read,
            definitions: batch.definitions.clone(),
            version: batch.version,
            events: batch.events.iter().filter(absorbs).cloned().collect(),
            dead: batch.dead.iter().map(letter).collect(),
        }
    }
}

impl State {
    fn begin(&mut self, position: Position) {
        if self.kept.back().is_some_and(|last| last.upto != position) {
            self.kept.clear();
        }
        self.head = Some(position);
    }

    fn keep(&mut self, part: Batch) {
        let held: usize = self.kept.iter().map(weight).sum();
        let contiguous = self.kept.back().is_none_or(|last| last.upto == part.after);
        if !contiguous || held + weight(&part) > KEPT {
            // The follower reads for itself up to where this begins.
            self.kept.clear();
        }
        self.head = Some(part.upto);
        match self.kept.back_mut().filter(|last| last.version == part.version) {
            Some(last) => {
                last.upto = part.upto;
                last.read += part.read;
                last.events.extend(part.events);
                last.dead.extend(part.dead);
            }
            None => self.kept.push_back(part),
        }
    }

    fn look(&mut self, position: Position, limit: usize) -> Look {
        // A batch that the follower is in the middle of is of no use to it: what is left of it has no known count.
        while self.kept.front().is_some_and(|first| first.after < position) {
            self.kept.pop_front();
        }
        let begins = self.kept.front().map(|first| first.after);
        match begins.or(self.head) {
            Some(place) if place == position && begins.is_some() => {
                let full = self.kept.len() > 1 || self.kept[0].read >= limit as u64;
                Look::Ready { full }
            }
            Some(place) if place == position && self.reading => Look::Wait,
            None if self.reading => Look::Wait,
            Some(place) if place > position => Look::Read(Some(place)),
            _ => Look::Read(None),
        }
    }
}

fn absorbs(definitions: &Definitions, store: Store, event: &Event) -> bool {
    let routes = definitions.event(&event.event_type).map(|(_, event_type)| &event_type.routes);
    routes.is_some_and(|routes| routes.iter().any(|route| definitions.views[route.view].store == store))
}

fn weight(batch: &Batch) -> usize {
    batch.events.len() + batch.dead.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_core::definitions::DefinitionsSource;
    use millrace_core::event::EventId;
    use millrace_core::key::KeyText;
    use millrace_core::partition::Partition;

    use super::*;

    const YAML: &str = "entities: { user: { key: user_id, type: int64 } }
events: { click: { partition_by: user }, address: { partition_by: user } }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: clicks, agg: count }] }
  - { name: addresses, entity: user, from: [address], store: mongodb, features: [{ name: moves, agg: count }] }";
    const AT: fn(u64) -> Position = |seq| Position::new(1_000, seq);

    fn share() -> Share {
        Share::new("mongodb", Store::MongoDb)
    }

    /// Entries `after + 1 ..= upto`, each third one an address.
    fn batch(after: u64, upto: u64, version: u32) -> Batch {
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        let event = |seq: u64| Event {
            event_type: if seq.is_multiple_of(3) { "address" } else { "click" }.into(),
            source: String::new(),
            id: EventId::Given(seq.to_string()),
            time: None,
            keys: vec![("user".into(), KeyText::from_canonical("7"))],
            properties: "{}".into(),
            traceparent: None,
        };
        Batch {
            partition: Partition(0),
            after: AT(after),
            upto: AT(upto),
            read: upto - after,
            definitions: Arc::new(Definitions::compile(source).unwrap()),
            version,
            events: (after + 1..=upto).map(|seq| (AT(seq), event(seq))).collect(),
            dead: vec![DeadLetter { sink: "redis".into(), position: AT(upto), ..DeadLetter::default() }],
        }
    }

    fn look(share: &Share, position: u64) -> Look {
        share.state.lock().look(AT(position), 1_000)
    }

    async fn take(share: &Share, position: u64) -> Batch {
        match share.follow(AT(position), 1, Duration::ZERO).await {
            Follow::Take(batch) => batch,
            Follow::Read(upto) => panic!("reads up to {upto:?}"),
        }
    }

    #[tokio::test]
    async fn a_follower_gets_the_whole_range_and_only_its_own_events() {
        let share = share();
        assert_eq!(look(&share, 0), Look::Wait, "the leader has not begun");
        share.begin(AT(0));
        share.offer(&batch(0, 4, 1));
        share.offer(&batch(4, 10, 1));
        let taken = take(&share, 0).await;
        assert_eq!((taken.after, taken.upto, taken.read), (AT(0), AT(10), 10));
        assert_eq!(taken.events.iter().map(|(at, _)| at.seq).collect::<Vec<_>>(), [3, 6, 9]);
        assert_eq!(
            taken.dead.iter().map(|l| (l.sink.as_str(), l.position)).collect::<Vec<_>>(),
            [("mongodb", AT(4)), ("mongodb", AT(10))]
        );
        assert_eq!(look(&share, 10), Look::Wait, "both are at the same place");
    }

    #[tokio::test]
    async fn a_batch_is_of_one_version() {
        let share = share();
        share.begin(AT(0));
        share.offer(&batch(0, 4, 1));
        share.offer(&batch(4, 5, 2));
        assert_eq!(take(&share, 0).await.upto, AT(4));
        let second = take(&share, 4).await;
        assert_eq!((second.upto, second.version), (AT(5), 2));
    }

    #[test]
    fn a_follower_reads_for_itself_while_its_leader_does_not() {
        let share = share();
        share.begin(AT(0));
        share.offer(&batch(0, 4, 1));
        share.set_reading(false);
        assert_eq!(look(&share, 0), Look::Ready { full: false }, "what is there is not read twice");
        assert_eq!(look(&share, 4), Look::Read(None));
        // It has gone on to 9 by itself; the leader is back, and passes that place.
        share.set_reading(true);
        assert_eq!(look(&share, 9), Look::Read(None));
        share.offer(&batch(4, 12, 1));
        assert_eq!(look(&share, 9), Look::Read(Some(AT(12))), "the two meet at the end of what straddles");
        share.offer(&batch(12, 20, 1));
        assert_eq!(look(&share, 12), Look::Ready { full: false });
    }

    #[test]
    fn a_follower_that_is_left_behind_reads_up_to_what_is_kept() {
        let share = share();
        share.begin(AT(0));
        for turn in 0..10 {
            share.offer(&batch(turn * 6_000, (turn + 1) * 6_000, 1));
        }
        // 2,001 of 6,000 events each are kept: four batches are, the fifth begins anew.
        assert_eq!(look(&share, 0), Look::Read(Some(AT(8 * 6_000))));
        assert!(share.state.lock().kept.iter().map(weight).sum::<usize>() <= KEPT);
        assert_eq!(look(&share, 8 * 6_000), Look::Ready { full: true });
    }

    #[test]
    fn a_leader_that_begins_again_further_back_is_not_followed_back() {
        let share = share();
        share.begin(AT(0));
        share.offer(&batch(0, 10, 1));
        assert_eq!(look(&share, 10), Look::Wait);
        share.begin(AT(5));
        share.offer(&batch(5, 10, 1));
        assert_eq!(look(&share, 10), Look::Wait);
        share.offer(&batch(10, 11, 1));
        assert_eq!(look(&share, 10), Look::Ready { full: false });
    }
}
