//! A valid event, and the reason why an event is rejected. The way from text to either is left to `raw` and `validate`.

use crate::key::KeyText;
use crate::partition::{Partition, partition_of};

/// How far ahead of the clock an event's time may lie, in ms.
pub const MAX_FUTURE_MS: i64 = 5 * 60 * 1_000;
/// The largest event, in bytes of its JSON.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// The longest event id, source and trace parent, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// An event that may enter the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The name of its type.
    pub event_type: String,
    /// The system that reports it. It is part of the event's identity.
    pub source: String,
    /// Its id.
    pub id: EventId,
    /// When it happened, epoch ms. None means: when it arrived, which the log knows.
    pub time: Option<i64>,
    /// (entity, canonical key) for each entity that it names, the partitioning one first.
    pub keys: Vec<(String, KeyText)>,
    /// The properties as canonical JSON: no nulls, names sorted, declared decimals as strings.
    pub properties: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// An event's id, and whether a resend can be recognized by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventId {
    /// Given by the sender: the same id from the same source is the same event.
    Given(String),
    /// Made at ingest and unique, so a resend cannot be recognized.
    Made(String),
}

/// Why an event may not enter the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Rejected {
    /// The field at fault, as a path from the event's root; empty for the event as a whole.
    pub field: String,
    /// The mistake, and what is expected.
    pub reason: String,
}

impl Rejected {
    /// A rejection for this reason.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl EventId {
    /// The id itself.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Given(id) | Self::Made(id) => id,
        }
    }

    /// The id itself, moved out.
    pub fn into_string(self) -> String {
        match self {
            Self::Given(id) | Self::Made(id) => id,
        }
    }
}

impl Event {
    /// The canonical key that decides its partition.
    pub fn partition_key(&self) -> &KeyText {
        // `RawEvent::validate` and `Entry::decode` refuse an event without a key.
        &self.keys[0].1
    }

    /// Its partition in a log with this number of partitions.
    pub fn partition(&self, partitions: u16) -> Partition {
        partition_of(self.partition_key().as_str(), partitions)
    }

    /// Its key for this entity, if it names the entity.
    pub fn key(&self, entity: &str) -> Option<&KeyText> {
        self.keys.iter().find(|(name, _)| name == entity).map(|(_, key)| key)
    }
}

/// The beginning of a text from outside, for messages.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
