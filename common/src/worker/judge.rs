//! Decides the fate of each entry: it counts, is ignored as a duplicate, is dead-lettered with a reason, or changes the
//! definitions. The fate is a function of the log alone. No checkpoint is looked at, so a replay decides the same.

use millrace_core::dedupe::{Duplicates, Verdict};
use millrace_core::definitions::Definitions;
use millrace_core::entry::{Control, Entry};
use millrace_core::event::Event;
use millrace_core::partition::{Partition, partition_of};
use millrace_core::position::Position;

use crate::log::RawEntry;

/// The characters of an entry that a dead letter keeps.
const RAW_CHARS: usize = 4_096;

/// The fate of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It counts.
    Counts(Event),
    /// It is a resend and ignored.
    Duplicate,
    /// Other definitions are in force from here on.
    Control(Control),
    /// It is dead-lettered.
    Dead {
        /// The reason.
        reason: String,
        /// Its event id, if it has one.
        event_id: Option<String>,
        /// The beginning of its text.
        raw: String,
    },
}

/// Judges one partition's entries in log order.
pub struct Judge {
    partition: Partition,
    partitions: u16,
    duplicates: Duplicates,
}

impl Judge {
    /// Knows nothing yet. Call [`Judge::remember`] with the entries within H before the first one.
    pub fn new(partition: Partition, partitions: u16, duplicates: Duplicates) -> Self {
        Self { partition, partitions, duplicates }
    }

    /// Takes in an entry from before the first one to be judged.
    pub fn remember(&mut self, entry: RawEntry) {
        if let Ok(fields) = entry.fields()
            && let Ok(Entry::Event(event)) = Entry::decode(fields)
            && let Some(identity) = event.identity()
        {
            self.duplicates.judge(entry.position, identity, event.content());
        }
    }

    /// Judges the next entry under the definitions in force.
    pub fn judge(&mut self, entry: RawEntry, definitions: &Definitions) -> (Position, Fate) {
        let position = entry.position;
        let fate = match entry.fields() {
            Err(error) => Fate::Dead { reason: error.to_string(), event_id: None, raw: preview(&error.lossy) },
            Ok(fields) => match Entry::decode(fields) {
                Err(malformed) => Fate::Dead { reason: malformed.to_string(), event_id: None, raw: raw_text(&entry) },
                Ok(Entry::Control(control)) => Fate::Control(control),
                Ok(Entry::Event(event)) => self.judge_event(position, event, definitions),
            },
        };
        (position, fate)
    }

    fn judge_event(&mut self, position: Position, event: Event, definitions: &Definitions) -> Fate {
        let verdict = match event.identity() {
            Some(identity) => self.duplicates.judge(position, identity, event.content()),
            None => Verdict::New,
        };
        let dead = |reason: String| {
            let event_id = Some(event.id.as_str().to_owned());
            Fate::Dead { reason, event_id, raw: preview(&event.fields()) }
        };
        match verdict {
            Verdict::Duplicate => return Fate::Duplicate,
            Verdict::Conflict => {
                return dead("an event with the same source and id, but other content, came before".into());
            }
            Verdict::New => {}
        }
        match self.misplaced(&event, definitions) {
            Some(reason) => dead(reason),
            None => Fate::Counts(event),
        }
    }

    /// Why an event does not belong into this partition. Ingest writes no such event.
    fn misplaced(&self, event: &Event, definitions: &Definitions) -> Option<String> {
        let Some((_, event_type)) = definitions.event(&event.event_type) else {
            return Some(format!("no event type `{}` in the definitions in force", event.event_type));
        };
        let entity = &definitions.entities[event_type.partition_by];
        let Some(key) = event.key(&entity.name) else {
            return Some(format!("the entry has no key of {}, which its type is partitioned by", entity.name));
        };
        if let Some((entity, key)) = event
            .keys
            .iter()
            .find(|(name, key)| definitions.entity(name).is_none_or(|(_, entity)| !entity.is_canonical(key.as_str())))
        {
            return Some(format!("`{key}` is not a canonical key of {entity}"));
        }
        let right = partition_of(key.as_str(), self.partitions);
        (right != self.partition).then(|| format!("key {key} belongs to partition {right}"))
    }
}

/// The beginning of an entry that cannot be decoded.
fn raw_text(entry: &RawEntry) -> String {
    entry.fields().map(|fields| preview(&fields.collect::<Vec<_>>())).unwrap_or_default()
}

/// The beginning of an entry's text.
fn preview(fields: &impl std::fmt::Debug) -> String {
    format!("{fields:?}").chars().take(RAW_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::DefinitionsSource;

    fn definitions() -> Definitions {
        let yaml = "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }";
        Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: Default::default() }).unwrap()
    }

    fn entry(seq: u64, fields: &[(&str, &str)]) -> RawEntry {
        RawEntry::new(Position::new(1_000, seq), fields)
    }

    fn reason(fate: Fate) -> String {
        match fate {
            Fate::Dead { reason, .. } => reason,
            other => panic!("expected a dead letter, got {other:?}"),
        }
    }

    #[test]
    fn a_poison_entry_is_dead_and_its_neighbours_count() {
        let definitions = definitions();
        let mut judge = Judge::new(Partition(0), 1, Duplicates::default());
        let good = [("type", "click"), ("source", ""), ("id", "1"), ("key:user", "7"), ("properties", "{}")];
        assert!(matches!(judge.judge(entry(1, &good), &definitions).1, Fate::Counts(_)));
        assert!(reason(judge.judge(entry(2, &[("foo", "bar")]), &definitions).1).contains("foo"));
        assert_eq!(judge.judge(entry(3, &good), &definitions).1, Fate::Duplicate);
        let unknown = [("type", "view"), ("id", "2"), ("key:user", "7")];
        assert!(reason(judge.judge(entry(4, &unknown), &definitions).1).contains("no event type `view`"));
        let spelled = [("type", "click"), ("id", "3"), ("key:user", "007")];
        assert!(reason(judge.judge(entry(5, &spelled), &definitions).1).contains("canonical"));
    }

    #[test]
    fn an_entry_in_the_wrong_partition_is_dead() {
        let definitions = definitions();
        let mut judge = Judge::new(Partition(0), 8, Duplicates::default());
        let fields = [("type", "click"), ("id", "1"), ("key:user", "2")];
        assert!(reason(judge.judge(entry(1, &fields), &definitions).1).contains("belongs to partition 4"));
    }
}
