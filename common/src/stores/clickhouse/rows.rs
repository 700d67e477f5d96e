//! The form of a row of `events`: RowBinary, written straight from the event. The server fills in no value.

use millrace_core::definitions::Definitions;
use millrace_core::event::{Event, EventId};
use millrace_core::key::{KeyText, KeyType};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::sql::{self, KeyColumn};
use rustc_hash::FxHashSet;
use xxhash_rust::xxh3::xxh3_64;

const DAY_MS: i64 = 86_400_000;
/// The bytes of a row besides its texts and keys: numbers, lengths, flags.
const FIXED_BYTES: usize = 56;

/// How events become rows, under one version of the definitions.
pub struct Layout {
    insert: String,
    columns: Vec<(KeyColumn, String)>,
    types: Vec<TypeLayout>,
}

/// The parts of an event type that a row needs.
struct TypeLayout {
    name: String,
    /// Name of the entity that it is partitioned by.
    partition_by: String,
    /// Indices of the entities whose keys it carries.
    entities: Vec<usize>,
}

/// Rows ready to be sent.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    body: Vec<u8>,
    count: u64,
    days: FxHashSet<i32>,
}

impl Layout {
    /// The layout that `apply` gave the table for these definitions.
    pub fn new(definitions: &Definitions) -> Self {
        let entity = |index: usize| definitions.entities[index].name.clone();
        let columns: Vec<_> =
            sql::key_columns(definitions).into_iter().map(|c| (c.clone(), entity(c.entity))).collect();
        let names: Vec<String> = sql::COLUMNS
            .iter()
            .copied()
            .chain(columns.iter().map(|(c, _)| c.name.as_str()))
            .map(sql::quote_name)
            .collect();
        let types = definitions.events.iter().map(|event| TypeLayout {
            name: event.name.clone(),
            partition_by: entity(event.partition_by),
            entities: event.entities.clone(),
        });
        Self {
            insert: format!("INSERT INTO events ({}) FORMAT RowBinary", names.join(", ")),
            columns,
            types: types.collect(),
        }
    }

    pub(super) fn insert(&self) -> &str {
        &self.insert
    }

    /// The rows of events, in the order of the table's sorting key. The server then need not move its JSON columns, which
    /// costs more than sorting here.
    pub fn rows(&self, partition: Partition, events: &[(Position, Event)]) -> Rows {
        let mut sorted: Vec<_> = events
            .iter()
            .map(|(position, event)| {
                let key = (self.partition_key(event).as_str(), event.feature_time(*position), event.id.as_str());
                (event.event_type.as_str(), key, position, event)
            })
            .collect();
        sorted.sort_unstable_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        let bytes = events.iter().map(|(_, event)| row_bytes(event)).sum();
        let mut rows = Rows { body: Vec::with_capacity(bytes), ..Rows::default() };
        for (.., position, event) in sorted {
            self.push(&mut rows, partition, *position, event);
        }
        rows
    }

    /// Adds the row of an event, whose type is in the definitions.
    pub fn push(&self, rows: &mut Rows, partition: Partition, position: Position, event: &Event) {
        let known = self.type_of(event);
        let partition_key = self.partition_key(event);
        let feature_time = event.feature_time(position);
        let body = &mut rows.body;
        text(body, &event.event_type);
        text(body, &event.source);
        text(body, event.id.as_str());
        text(body, partition_key.as_str());
        for time in [event.event_time(position), feature_time, position.stream_time()] {
            body.extend_from_slice(&time.to_le_bytes());
        }
        body.extend_from_slice(&partition.0.to_le_bytes());
        body.extend_from_slice(&position.ms.to_le_bytes());
        body.extend_from_slice(&position.seq.to_le_bytes());
        body.push(u8::from(matches!(event.id, EventId::Given(_))));
        text(body, event.traceparent.as_deref().unwrap_or_default());
        text(body, &event.properties);
        for (column, entity) in &self.columns {
            // A key that the type does not declare is not an input online, so it is absent here too.
            let carried = known.is_some_and(|known| known.entities.contains(&column.entity));
            key_part(body, column, event.key(entity).filter(|_| carried));
        }
        rows.count += 1;
        rows.days.insert(i32::try_from(feature_time.div_euclid(DAY_MS)).unwrap_or_default());
    }

    fn type_of(&self, event: &Event) -> Option<&TypeLayout> {
        self.types.iter().find(|known| known.name == event.event_type)
    }

    fn partition_key<'e>(&self, event: &'e Event) -> &'e KeyText {
        let named = self.type_of(event).and_then(|known| event.key(&known.partition_by));
        named.unwrap_or_else(|| event.partition_key())
    }
}

impl Rows {
    /// The number of rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The length in bytes.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The days of their feature times, since the epoch.
    pub fn days(&self) -> Vec<i32> {
        self.days.iter().copied().collect()
    }

    /// A hash of the rows.
    pub fn hash(&self) -> u64 {
        xxh3_64(&self.body)
    }

    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// About the length of the event's row, rather more than less: for reserving memory, and for cutting blocks.
pub fn row_bytes(event: &Event) -> usize {
    // A number takes eight bytes whatever its digits; the partition key has a column beside those of the entities.
    let keys: usize = event.keys.iter().map(|(_, key)| 1 + key.as_str().len().max(8)).sum();
    let partition_key = event.partition_key().as_str().len();
    let texts = [event.event_type.as_str(), &event.source, event.id.as_str(), &event.properties];
    let traceparent = event.traceparent.as_deref().map_or(0, str::len);
    FIXED_BYTES + keys + partition_key + traceparent + texts.iter().map(|text| text.len()).sum::<usize>()
}

/// A string: its length as a varint, its bytes.
pub(super) fn text(body: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    while length >= 0x80 {
        body.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
    body.extend_from_slice(text.as_bytes());
}

/// One part of a key as its nullable column holds it.
fn key_part(body: &mut Vec<u8>, column: &KeyColumn, key: Option<&KeyText>) {
    let Some(key) = key else { return body.push(1) };
    let plain = !key.as_str().contains([',', '%']);
    let decoded;
    let part = if plain && column.part == 0 {
        key.as_str()
    } else {
        decoded = key.parts().into_iter().nth(column.part).unwrap_or_default();
        &decoded
    };
    match (column.kind, part.parse::<i64>()) {
        (KeyType::String, _) => {
            body.push(0);
            text(body, part);
        }
        (KeyType::Int64, Ok(number)) => {
            body.push(0);
            body.extend_from_slice(&number.to_le_bytes());
        }
        // A key that is not canonical was dead-lettered before.
        (KeyType::Int64, Err(_)) => body.push(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_varint() {
        let mut body = Vec::new();
        text(&mut body, &"a".repeat(300));
        assert_eq!(body[..3], [0xac, 0x02, b'a']);
        assert_eq!(body.len(), 302);
    }
}
