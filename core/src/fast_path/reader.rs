//! Reads events by the fast path where it accepts them, by the strict path otherwise. Callers cannot tell which path
//! judged an event.

use super::tokens::Tokens;
use super::validate::valid_parts;
use crate::definitions::Definitions;
use crate::event::{Event, EventForm, EventId, RawEvent, Rejected};

/// Reads events, one after the other, in buffers that it uses again.
#[derive(Debug)]
pub struct EventReader<'d, 'a> {
    definitions: &'d Definitions,
    form: EventForm,
    tokens: Tokens<'a>,
}

/// An event at the beginning of a longer text.
#[derive(Debug)]
pub struct FirstEvent {
    /// How many bytes of the text it takes.
    pub length: usize,
    /// The event, or why it is rejected.
    pub event: Result<Event, Rejected>,
}

impl<'d, 'a> EventReader<'d, 'a> {
    /// A reader of events in this form, which it checks against these definitions.
    pub fn new(definitions: &'d Definitions, form: EventForm) -> Self {
        Self { definitions, form, tokens: Tokens::default() }
    }

    /// The definitions that events are checked against.
    pub fn definitions(&self) -> &'d Definitions {
        self.definitions
    }

    /// Reads one event: the result of [`RawEvent::parse`] and then [`RawEvent::validate`]. `now` is the clock in epoch
    /// ms; `make_id` makes an id for an event that comes without one.
    pub fn read(&mut self, text: &'a str, now: i64, make_id: impl FnOnce() -> EventId) -> Result<Event, Rejected> {
        match self.form {
            EventForm::Flat => {}
            EventForm::Nested => {
                let top = self.tokens.read(text);
                if let Some(parts) = top.and_then(|top| valid_parts(self.definitions, top, now)) {
                    return Ok(parts.into_event(make_id));
                }
            }
        }
        RawEvent::parse(text, self.form)?.validate(self.definitions, now, make_id)
    }

    /// Reads the event that `text` begins with and ignores the rest. Returns None when the fast path cannot tell where
    /// the event ends.
    pub fn read_first(&mut self, text: &'a str, now: i64, make_id: impl FnOnce() -> EventId) -> Option<FirstEvent> {
        match self.form {
            EventForm::Flat => None,
            EventForm::Nested => {
                let (top, length) = self.tokens.read_first(text)?;
                let event = match valid_parts(self.definitions, top, now) {
                    Some(parts) => Ok(parts.into_event(make_id)),
                    None => RawEvent::parse(&text[..length], self.form)
                        .and_then(|raw| raw.validate(self.definitions, now, make_id)),
                };
                Some(FirstEvent { length, event })
            }
        }
    }
}
