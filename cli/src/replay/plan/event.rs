//! Turns the rows of one mapping into events, written as JSON up to their time.

use std::hash::{DefaultHasher, Hash, Hasher};

use millrace_core::expr::ExprValue;

use super::rows::{EventTime, MappedRows, RowTime};
use crate::replay::error::ReplayError;
use crate::replay::join::LookupTable;
use crate::replay::mapping::Mapping;
use crate::replay::row::JoinedRow;

/// An event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    /// When it happened, shifted, epoch ms.
    pub time: i64,
    /// Index of its mapping.
    pub mapping: usize,
    /// Its row in the file, from 1.
    pub row: u64,
    /// Hash of its first key. Events with the same hash are sent in order.
    pub key_hash: u64,
    /// Its JSON up to the time.
    body: Box<str>,
}

/// An event whose final time is not known yet.
pub struct DraftEvent {
    pub time: EventTime,
    mapping: usize,
    row: u64,
    key_hash: u64,
    body: Box<str>,
}

impl PlannedEvent {
    /// Appends the event as one JSON object.
    pub fn write_json(&self, out: &mut String) {
        out.push_str(&self.body);
        out.push_str(",\"time\":");
        out.push_str(&self.time.to_string());
        out.push('}');
    }

    /// An upper bound of the length of its JSON.
    pub fn json_len(&self) -> usize {
        self.body.len() + 32
    }
}

impl DraftEvent {
    /// The event with its final time.
    pub fn planned(self, span_start: i64, shift_ms: i64) -> PlannedEvent {
        let Self { time, mapping, row, key_hash, body } = self;
        PlannedEvent { time: time.own().unwrap_or(span_start) + shift_ms, mapping, row, key_hash, body }
    }
}

/// The events of one mapping.
pub struct MappedEvents<'m> {
    rows: MappedRows<'m>,
    index: usize,
    /// The first row that is wanted; None wants all.
    from: Option<RowTime>,
}

impl<'m> MappedEvents<'m> {
    /// The events of the mapping with this index, from a row on.
    pub fn new(mapping: &'m Mapping, index: usize, tables: &'m [LookupTable], from: Option<RowTime>) -> Self {
        Self { rows: MappedRows { mapping, tables }, index, from }
    }

    /// Adds the wanted events to `events`. Returns how many rows the file has.
    pub fn read(&self, events: &mut Vec<DraftEvent>) -> Result<u64, ReplayError> {
        let mapping = self.rows.mapping;
        let head = self.head();
        let mut body = String::new();
        mapping.file.read(&mapping.columns, &mut |number, columns| {
            let event = self.rows.with_joins(number, columns, |row| {
                let Some(time) = self.rows.time(row)?.filter(|time| self.is_wanted(*time, number)) else {
                    return Ok(None);
                };
                body.clear();
                body.push_str(&head);
                let key_hash = self.write_event(row, &mut body)?;
                Ok(Some(DraftEvent { time, mapping: self.index, row: number, key_hash, body: body.as_str().into() }))
            })?;
            events.extend(event);
            Ok(())
        })
    }

    fn is_wanted(&self, time: EventTime, row: u64) -> bool {
        match (time, self.from) {
            (EventTime::SpanStart, _) | (_, None) => true,
            (EventTime::Own(time), Some(from)) => (time, row) >= from,
        }
    }

    /// The JSON that all events of the mapping begin with.
    fn head(&self) -> String {
        let mapping = self.rows.mapping;
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let source = mapping.source.as_ref().map_or_else(String::new, |s| format!(",\"source\":{}", quoted(s)));
        format!("{{\"type\":{}{source},\"id\":", quoted(&mapping.event))
    }

    /// Appends the id, the keys and the properties. Returns the hash of the first key.
    fn write_event(&self, row: JoinedRow<'_>, body: &mut String) -> Result<u64, ReplayError> {
        self.write_id(row, body)?;
        let key_hash = self.write_keys(row, body)?;
        body.push_str(",\"properties\":{");
        let mut written = false;
        for property in &self.rows.mapping.properties {
            let value = self.rows.eval(row, property)?;
            written |= write_member(body, written, &property.name, &value);
        }
        body.push('}');
        Ok(key_hash)
    }

    fn write_id(&self, row: JoinedRow<'_>, body: &mut String) -> Result<(), ReplayError> {
        let field = &self.rows.mapping.id;
        match self.rows.eval(row, field)? {
            ExprValue::Null => Err(self.rows.error(row, field, "is null; every event needs a stable id")),
            id => {
                ExprValue::Text(id.to_string()).write_json(body);
                Ok(())
            }
        }
    }

    fn write_keys(&self, row: JoinedRow<'_>, body: &mut String) -> Result<u64, ReplayError> {
        let mut hasher = DefaultHasher::new();
        for (index, key) in self.rows.mapping.keys.iter().enumerate() {
            let value = self.rows.eval(row, key)?;
            if index == 0 {
                if value == ExprValue::Null {
                    let message = "is null; leave such rows out with `filter: not is_null(…)`";
                    return Err(self.rows.error(row, key, message));
                }
                value.to_string().hash(&mut hasher);
            }
            write_member(body, true, &key.name, &value);
        }
        Ok(hasher.finish())
    }
}

/// Appends a member of an object. Null is the same as absent, so it is not written. Returns whether it wrote something.
fn write_member(body: &mut String, comma: bool, name: &str, value: &ExprValue) -> bool {
    if *value == ExprValue::Null {
        return false;
    }
    if comma {
        body.push(',');
    }
    body.push_str(&serde_json::Value::from(name).to_string());
    body.push(':');
    value.write_json(body);
    true
}
