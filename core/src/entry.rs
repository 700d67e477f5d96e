//! The form of an event in the log: `Event ─append→ Entry{Position, Event}`. Entries have flat, readable fields, so that
//! operators can read them with `XRANGE`. Only this module knows the names of the fields.

use std::borrow::Cow;

use crate::event::{Event, EventId};
use crate::key::KeyText;
use crate::position::Position;

/// Prefix of the field that holds an entity's key.
const KEY_PREFIX: &str = "key:";

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An event.
    Event(Event),
    /// These definitions are in force in this partition from here on.
    Control(Control),
}

/// A change of the definitions in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The version of the definitions.
    pub version: u32,
    /// The oldest engine (semantics of codecs and aggregates) that can compute them.
    pub engine: u32,
}

/// Why the fields of a stream entry are not an entry of Millrace.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// A required field is missing.
    #[error("the entry has no field `{0}`")]
    Missing(&'static str),
    /// A field has an invalid value.
    #[error("the entry's field `{field}` is invalid: `{value}`")]
    Invalid {
        /// Its name.
        field: String,
        /// The beginning of its value.
        value: String,
    },
    /// The event names no entity, so it belongs to no partition.
    #[error("the entry names no entity")]
    NoKey,
    /// The entry has a field that Millrace does not write.
    #[error("the entry has an unknown field `{0}`")]
    UnknownField(String),
}

impl Event {
    /// The fields of its entry, always in the same order, so that Redis stores the names once.
    pub fn fields(&self) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        let mut fields = Vec::with_capacity(self.field_count());
        self.each_field(|name, value| fields.push((name.concat().into(), value.to_owned().into())));
        fields
    }

    /// The number of fields that [`Event::each_field`] visits.
    pub fn field_count(&self) -> usize {
        4 + self.keys.len() + usize::from(self.time.is_some()) + usize::from(self.traceparent.is_some())
    }

    /// Visits the fields without copying them. A name comes in two parts.
    pub fn each_field(&self, mut field: impl FnMut([&str; 2], &str)) {
        field(["type", ""], &self.event_type);
        field(["source", ""], &self.source);
        match &self.id {
            EventId::Given(id) => field(["id", ""], id),
            EventId::Made(id) => field(["made_id", ""], id),
        }
        if let Some(time) = self.time {
            field(["time", ""], &time.to_string());
        }
        for (entity, key) in &self.keys {
            field([KEY_PREFIX, entity], key.as_str());
        }
        field(["properties", ""], &self.properties);
        if let Some(traceparent) = &self.traceparent {
            field(["traceparent", ""], traceparent);
        }
    }

    /// The time at which the event counts: `min(event time, stream time)`, so that nothing counts before it arrived.
    pub fn feature_time(&self, position: Position) -> i64 {
        self.event_time(position).min(position.stream_time())
    }

    /// When the event happened; when it arrived, for an event without a time.
    pub fn event_time(&self, position: Position) -> i64 {
        self.time.unwrap_or_else(|| position.stream_time())
    }

    /// Its identity: a hash of (source, event id). None when the id was made at ingest.
    pub fn identity(&self) -> Option<u128> {
        let EventId::Given(id) = &self.id else { return None };
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(self.source.as_bytes());
        hasher.update(&[0]);
        hasher.update(id.as_bytes());
        Some(hasher.digest128())
    }

    /// A hash of everything else in the event. It tells a resend from a reused id.
    pub fn content(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(self.event_type.as_bytes());
        hasher.update(&self.time.map_or([0; 8], i64::to_le_bytes));
        for (entity, key) in &self.keys {
            hasher.update(entity.as_bytes());
            hasher.update(&[0]);
            hasher.update(key.as_str().as_bytes());
            hasher.update(&[0]);
        }
        hasher.update(self.properties.as_bytes());
        hasher.digest()
    }
}

impl Control {
    /// The fields of its entry.
    pub fn fields(&self) -> [(&'static str, String); 3] {
        [
            ("control", "definitions".to_owned()),
            ("version", self.version.to_string()),
            ("engine", self.engine.to_string()),
        ]
    }
}

impl Entry {
    /// Reads the fields of one stream entry.
    pub fn decode<'e>(fields: impl IntoIterator<Item = (&'e str, &'e str)>) -> Result<Self, Malformed> {
        let mut fields = fields.into_iter().peekable();
        if fields.peek().is_some_and(|(name, _)| *name == "control") {
            return decode_control(fields).map(Self::Control);
        }
        let (mut event_type, mut id, mut properties) = (None, None, None);
        let mut event = Event {
            event_type: String::new(),
            source: String::new(),
            id: EventId::Made(String::new()),
            time: None,
            keys: Vec::with_capacity(2),
            properties: String::new(),
            traceparent: None,
        };
        for (name, value) in fields {
            match name {
                "type" => event_type = Some(value.to_owned()),
                "source" => value.clone_into(&mut event.source),
                "id" => id = Some(EventId::Given(value.to_owned())),
                "made_id" => id = Some(EventId::Made(value.to_owned())),
                "time" => event.time = Some(value.parse().map_err(|_| invalid(name, value))?),
                "properties" => properties = Some(value.to_owned()),
                "traceparent" => event.traceparent = Some(value.to_owned()),
                _ => match name.strip_prefix(KEY_PREFIX) {
                    Some(entity) => event.keys.push((entity.to_owned(), KeyText::from_canonical(value))),
                    None => return Err(Malformed::UnknownField(name.to_owned())),
                },
            }
        }
        event.event_type = event_type.ok_or(Malformed::Missing("type"))?;
        event.id = id.ok_or(Malformed::Missing("id"))?;
        event.properties = properties.unwrap_or_else(|| "{}".to_owned());
        if event.keys.is_empty() {
            return Err(Malformed::NoKey);
        }
        Ok(Self::Event(event))
    }
}

fn decode_control<'e>(fields: impl Iterator<Item = (&'e str, &'e str)>) -> Result<Control, Malformed> {
    let fields: Vec<_> = fields.collect();
    let number = |wanted: &'static str| {
        let (_, value) = fields.iter().find(|(name, _)| *name == wanted).ok_or(Malformed::Missing(wanted))?;
        value.parse().map_err(|_| invalid(wanted, value))
    };
    Ok(Control { version: number("version")?, engine: number("engine")? })
}

fn invalid(field: &str, value: &str) -> Malformed {
    Malformed::Invalid { field: field.to_owned(), value: value.chars().take(60).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            event_type: "purchase".into(),
            source: "till".into(),
            id: EventId::Given("e1".into()),
            time: Some(1_000),
            keys: vec![("household".into(), KeyText::from_canonical("1"))],
            properties: r#"{"quantity":1}"#.into(),
            traceparent: None,
        }
    }

    #[test]
    fn an_entry_round_trips() {
        let event = event();
        let fields = event.fields();
        let borrowed = fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        assert_eq!(Entry::decode(borrowed), Ok(Entry::Event(event.clone())));
        let control = Control { version: 3, engine: 1 };
        let fields = control.fields();
        let borrowed = fields.iter().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(Entry::decode(borrowed), Ok(Entry::Control(control)));
    }

    #[test]
    fn the_fields_of_an_entry_never_change() {
        let full = Event {
            keys: vec![
                ("household".into(), KeyText::from_canonical("1")),
                ("product".into(), KeyText::from_canonical("a%2Fb")),
            ],
            traceparent: Some("00-1-2-3".into()),
            ..event()
        };
        let golden = [
            ("type", "purchase"),
            ("source", "till"),
            ("id", "e1"),
            ("time", "1000"),
            ("key:household", "1"),
            ("key:product", "a%2Fb"),
            ("properties", r#"{"quantity":1}"#),
            ("traceparent", "00-1-2-3"),
        ];
        let fields = full.fields();
        assert_eq!(fields.len(), full.field_count());
        assert_eq!(fields.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>(), golden);
        let least = Event { id: EventId::Made("m".into()), time: None, ..event() }.fields();
        assert_eq!(
            least.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
            ["type", "source", "made_id", "key:household", "properties"]
        );
        let control = Control { version: 3, engine: 1 }.fields();
        assert_eq!(
            control.map(|(name, value)| format!("{name} {value}")),
            ["control definitions", "version 3", "engine 1"]
        );
    }

    #[test]
    fn an_event_counts_no_earlier_than_it_happened_and_no_later_than_it_arrived() {
        let event = event();
        assert_eq!(event.feature_time(Position::new(5_000, 0)), 1_000);
        assert_eq!(event.feature_time(Position::new(500, 0)), 500);
        let undated = Event { time: None, ..event };
        assert_eq!(undated.feature_time(Position::new(500, 0)), 500);
    }

    #[test]
    fn fields_that_are_not_an_entry_are_refused_with_the_reason() {
        assert_eq!(Entry::decode([("foo", "bar")]), Err(Malformed::UnknownField("foo".into())));
        assert_eq!(Entry::decode([("type", "x")]), Err(Malformed::Missing("id")));
        assert_eq!(Entry::decode([("type", "x"), ("id", "1")]), Err(Malformed::NoKey));
        assert!(Entry::decode([("control", "definitions"), ("version", "x")]).is_err());
    }

    #[test]
    fn identity_and_content_never_change() {
        assert_eq!(
            (event().identity(), event().content()),
            (Some(59_256_320_351_499_313_706_489_781_883_133_995_976), 16_866_917_078_661_679_304)
        );
    }
}
