//! From the text of a request to entries: checks each event and appends the valid ones. Where events begin and end is
//! left to `split`, HTTP to `http`.

use millrace_common::clock::now_ms;
use millrace_common::log::AppendError;
use millrace_core::definitions::Definitions;
use millrace_core::event::{Event, EventForm, EventId, MAX_EVENT_BYTES, Rejected};
use millrace_core::fast_path::reader::EventReader;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use crate::cloudevents::CloudEventsMode;
use crate::error::RequestError;
use crate::service::OpenLog;
use crate::split::{self, BodyForm, MAX_EVENTS, NOT_UTF8};

/// The context that a request gives its events.
#[derive(Clone, Debug, Default)]
pub struct RequestContext<'h> {
    /// `Idempotency-Key`. Events without an id get one that a resend of the request repeats.
    pub idempotency_key: Option<String>,
    /// `traceparent` of the request.
    pub traceparent: Option<String>,
    /// Where events have their properties.
    pub form: EventForm,
    /// The content mode, when they are CloudEvents.
    pub cloudevents: Option<CloudEventsMode<'h>>,
}

/// The events of a request, checked, each with its index in the request.
#[derive(Debug, Default)]
pub struct CheckedEvents {
    /// Those that may enter the log.
    pub valid: Vec<(usize, Event)>,
    /// Those that may not.
    pub rejected: Vec<(usize, Rejected)>,
}

/// An event that is in the log.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its partition.
    pub partition: Partition,
    /// Its position there.
    pub position: Position,
    /// Its id.
    pub event_id: String,
}

/// Checks the events of a body. `declared` is the body's form when the request declares it.
pub fn check(
    definitions: &Definitions,
    context: &RequestContext<'_>,
    body: &str,
    declared: Option<BodyForm>,
) -> Result<(BodyForm, CheckedEvents), RequestError> {
    let checker = Checker { definitions, context };
    let form = split::form(body, declared)?;
    let checked = match form {
        BodyForm::One => checker.one(body, declared)?,
        BodyForm::Lines => checker.each(&split::lines(body)?),
        BodyForm::Array => match checker.array_in_one_pass(body) {
            Some(checked) => checked,
            None => checker.each(&split::array(body)?),
        },
    };
    Ok((form, checked))
}

/// Appends the valid events in order. Returns those that are in the log, or an error that names them when the log did
/// not take all.
pub async fn append(log: &OpenLog, valid: Vec<(usize, Event)>) -> Result<Vec<(usize, Accepted)>, RequestError> {
    let placed: Vec<(Partition, &Event)> =
        valid.iter().map(|(_, event)| (event.partition(log.partitions), event)).collect();
    let outcomes = log.appender.append_batch(&placed).await;
    let partitions: Vec<Partition> = placed.into_iter().map(|(partition, _)| partition).collect();
    let mut accepted = Vec::with_capacity(valid.len());
    let mut failure: Option<AppendError> = None;
    for (((index, event), partition), outcome) in valid.into_iter().zip(partitions).zip(outcomes) {
        match outcome {
            Ok(position) => accepted.push((index, Accepted { partition, position, event_id: event.id.into_string() })),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        None => Ok(accepted),
        Some(error) => {
            let accepted = accepted.into_iter().map(|(index, _)| index).collect();
            Err(RequestError::Unavailable { reason: error.to_string(), accepted })
        }
    }
}

struct Checker<'c, 'h> {
    definitions: &'c Definitions,
    context: &'c RequestContext<'h>,
}

impl Checker<'_, '_> {
    /// A body that is one event. Whether it is JSON at all only matters once the event is rejected.
    fn one(&self, body: &str, declared: Option<BodyForm>) -> Result<CheckedEvents, RequestError> {
        if body.len() > MAX_EVENT_BYTES {
            return Err(RequestError::TooLarge(too_large()));
        }
        let checked = self.each(&[body]);
        if !checked.rejected.is_empty() && !split::is_json(body) {
            let advice = if declared.is_none() { "; send lines as application/x-ndjson" } else { "" };
            return Err(RequestError::Unparsable(format!("the body is not valid JSON{advice}")));
        }
        Ok(checked)
    }

    fn each(&self, texts: &[&str]) -> CheckedEvents {
        let mut reader = EventReader::new(self.definitions, self.context.form);
        let mut checked = CheckedEvents::default();
        for (index, text) in texts.iter().enumerate() {
            let event = self.event(&mut reader, index, text);
            checked.add(index, event.map(|event| self.traced(event)));
        }
        checked
    }

    fn event<'b>(&self, reader: &mut EventReader<'_, 'b>, index: usize, text: &'b str) -> Result<Event, Rejected> {
        if text.len() > MAX_EVENT_BYTES {
            return Err(Rejected::new("", too_large()));
        }
        if text == NOT_UTF8 {
            return Err(Rejected::new("", "the line is not UTF-8"));
        }
        let make_id = || self.make_id(index);
        match self.context.cloudevents {
            Some(mode) => mode.raw_event(text)?.validate(self.definitions, now_ms(), make_id),
            None => reader.read(text, now_ms(), make_id),
        }
    }

    /// Checks the events of an array while looking for where each ends. Returns None for an array that the fast path
    /// does not understand whole.
    fn array_in_one_pass(&self, body: &str) -> Option<CheckedEvents> {
        if self.context.cloudevents.is_some() {
            return None;
        }
        let mut reader = EventReader::new(self.definitions, self.context.form);
        let mut checked = CheckedEvents::default();
        let mut rest = skip_spaces(body).strip_prefix('[')?;
        for index in 0..MAX_EVENTS {
            let text = skip_spaces(rest);
            let first = reader.read_first(text, now_ms(), || self.make_id(index))?;
            let event = if first.length > MAX_EVENT_BYTES { Err(Rejected::new("", too_large())) } else { first.event };
            checked.add(index, event.map(|event| self.traced(event)));
            let after = skip_spaces(&text[first.length..]);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => return skip_spaces(after.strip_prefix(']')?).is_empty().then_some(checked),
            }
        }
        None
    }

    fn make_id(&self, index: usize) -> EventId {
        match &self.context.idempotency_key {
            Some(key) => EventId::Given(format!("{key}-{index}")),
            None => EventId::Made(uuid::Uuid::now_v7().to_string()),
        }
    }

    /// The event with the trace of the request, when it has none of its own.
    fn traced(&self, mut event: Event) -> Event {
        if event.traceparent.is_none() {
            event.traceparent.clone_from(&self.context.traceparent);
        }
        event
    }
}

impl CheckedEvents {
    fn add(&mut self, index: usize, event: Result<Event, Rejected>) {
        match event {
            Ok(event) => self.valid.push((index, event)),
            Err(reason) => self.rejected.push((index, reason)),
        }
    }
}

fn too_large() -> String {
    format!("an event must not be larger than {MAX_EVENT_BYTES} bytes")
}

/// The text behind JSON's white space.
fn skip_spaces(text: &str) -> &str {
    text.trim_start_matches([' ', '\n', '\t', '\r'])
}

#[cfg(test)]
mod tests;
