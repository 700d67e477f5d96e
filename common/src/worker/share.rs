//! One reading of a partition for two sinks. The leader reads and judges. The events that the follower's views absorb are
//! kept here until the follower takes them.
//!
//! Neither sink waits for the other's store. A leader never waits for its follower. A follower reads the log itself while
//! its leader's store is unavailable, or after its own was for too long, until the two meet again. Both find the same,
//! because an entry's fate is a function of the log.

use std::time::Duration;

use millrace_core::definitions::{Definitions, Store};
use millrace_core::event::Event;
use millrace_core::position::Position;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::kept::{KeptBatches, LeaderView};
use super::sink::Batch;
use crate::log::DeadLetter;

/// The reading that one leader and one follower share.
pub(super) struct SharedReading {
    /// The follower's name, for its dead letters.
    sink: &'static str,
    /// The follower absorbs the events that views of this store read.
    store: Store,
    kept: Mutex<KeptBatches>,
    changed: Notify,
}

/// The next step of a follower.
#[derive(Debug)]
pub(super) enum Follow {
    /// Take this batch, which the leader has judged.
    Take(Batch),
    /// Read the log, up to where it meets the leader if that is known.
    Read(Option<Position>),
}

impl SharedReading {
    pub(super) fn new(sink: &'static str, store: Store) -> Self {
        Self { sink, store, kept: Mutex::new(KeptBatches::new()), changed: Notify::new() }
    }

    /// The leader begins, perhaps again, after `position`.
    pub(super) fn begin(&self, position: Position) {
        self.kept.lock().begin(position);
        self.changed.notify_one();
    }

    /// The leader has judged this batch.
    pub(super) fn offer(&self, batch: &Batch) {
        let part = self.part(batch);
        self.kept.lock().keep(part);
        self.changed.notify_one();
    }

    /// Notes whether the leader is reading, after each of its turns.
    pub(super) fn set_reading(&self, reading: bool) {
        let before = self.kept.lock().set_reading(reading);
        if before != reading {
            self.changed.notify_one();
        }
    }

    /// Waits for the batch that follows `position`. Gathers more for `linger`, up to about `limit` entries. Safe to drop.
    pub(super) async fn follow(&self, position: Position, limit: usize, linger: Duration) -> Follow {
        let mut due = None;
        loop {
            let look = self.kept.lock().look(position, limit);
            match look {
                LeaderView::Read(upto) => return Follow::Read(upto),
                LeaderView::Wait => self.changed.notified().await,
                LeaderView::Ready { full } => {
                    let due = *due.get_or_insert_with(|| Instant::now() + linger);
                    let enough = full || Instant::now() >= due;
                    if let Some(batch) = enough.then(|| self.kept.lock().take()).flatten() {
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

fn absorbs(definitions: &Definitions, store: Store, event: &Event) -> bool {
    let routes = definitions.event(&event.event_type).map(|(_, event_type)| &event_type.routes);
    routes.is_some_and(|routes| routes.iter().any(|route| definitions.views[route.view].store == store))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_core::definitions::DefinitionsSource;
    use millrace_core::event::EventId;
    use millrace_core::key::KeyText;
    use millrace_core::partition::Partition;

    use super::super::kept::MOST_KEPT;
    use super::*;

    const YAML: &str = "entities: { user: { key: user_id, type: int64 } }
events: { click: { partition_by: user }, address: { partition_by: user } }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: clicks, agg: count }] }
  - { name: addresses, entity: user, from: [address], store: mongodb, features: [{ name: moves, agg: count }] }";
    const AT: fn(u64) -> Position = |seq| Position::new(1_000, seq);

    fn shared() -> SharedReading {
        SharedReading::new("mongodb", Store::MongoDb)
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

    fn look(shared: &SharedReading, position: u64) -> LeaderView {
        shared.kept.lock().look(AT(position), 1_000)
    }

    async fn take(shared: &SharedReading, position: u64) -> Batch {
        match shared.follow(AT(position), 1, Duration::ZERO).await {
            Follow::Take(batch) => batch,
            Follow::Read(upto) => panic!("reads up to {upto:?}"),
        }
    }

    #[tokio::test]
    async fn a_follower_gets_the_whole_range_and_only_its_own_events() {
        let shared = shared();
        assert_eq!(look(&shared, 0), LeaderView::Wait, "the leader has not begun");
        shared.begin(AT(0));
        shared.offer(&batch(0, 4, 1));
        shared.offer(&batch(4, 10, 1));
        let taken = take(&shared, 0).await;
        assert_eq!((taken.after, taken.upto, taken.read), (AT(0), AT(10), 10));
        assert_eq!(taken.events.iter().map(|(at, _)| at.seq).collect::<Vec<_>>(), [3, 6, 9]);
        assert_eq!(
            taken.dead.iter().map(|l| (l.sink.as_str(), l.position)).collect::<Vec<_>>(),
            [("mongodb", AT(4)), ("mongodb", AT(10))]
        );
        assert_eq!(look(&shared, 10), LeaderView::Wait, "both are at the same place");
    }

    #[tokio::test]
    async fn a_batch_is_of_one_version() {
        let shared = shared();
        shared.begin(AT(0));
        shared.offer(&batch(0, 4, 1));
        shared.offer(&batch(4, 5, 2));
        assert_eq!(take(&shared, 0).await.upto, AT(4));
        let second = take(&shared, 4).await;
        assert_eq!((second.upto, second.version), (AT(5), 2));
    }

    #[test]
    fn a_follower_reads_for_itself_while_its_leader_does_not() {
        let shared = shared();
        shared.begin(AT(0));
        shared.offer(&batch(0, 4, 1));
        shared.set_reading(false);
        assert_eq!(look(&shared, 0), LeaderView::Ready { full: false }, "what is there is not read twice");
        assert_eq!(look(&shared, 4), LeaderView::Read(None));
        // It has gone on to 9 by itself; the leader is back, and passes that place.
        shared.set_reading(true);
        assert_eq!(look(&shared, 9), LeaderView::Read(None));
        shared.offer(&batch(4, 12, 1));
        assert_eq!(look(&shared, 9), LeaderView::Read(Some(AT(12))), "the two meet at the end of what straddles");
        shared.offer(&batch(12, 20, 1));
        assert_eq!(look(&shared, 12), LeaderView::Ready { full: false });
    }

    #[test]
    fn a_follower_that_is_left_behind_reads_up_to_what_is_kept() {
        let shared = shared();
        shared.begin(AT(0));
        for turn in 0..10 {
            shared.offer(&batch(turn * 6_000, (turn + 1) * 6_000, 1));
        }
        // 2,001 of 6,000 events each are kept: four batches are, the fifth begins anew.
        assert_eq!(look(&shared, 0), LeaderView::Read(Some(AT(8 * 6_000))));
        assert!(shared.kept.lock().weight() <= MOST_KEPT);
        assert_eq!(look(&shared, 8 * 6_000), LeaderView::Ready { full: true });
    }

    #[test]
    fn a_leader_that_begins_again_further_back_is_not_followed_back() {
        let shared = shared();
        shared.begin(AT(0));
        shared.offer(&batch(0, 10, 1));
        assert_eq!(look(&shared, 10), LeaderView::Wait);
        shared.begin(AT(5));
        shared.offer(&batch(5, 10, 1));
        assert_eq!(look(&shared, 10), LeaderView::Wait);
        shared.offer(&batch(10, 11, 1));
        assert_eq!(look(&shared, 10), LeaderView::Ready { full: false });
    }
}
