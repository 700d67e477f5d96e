//! Which events are sent, in which order and with which times: rows become events, a span of them is chosen, and all are
//! shifted by one amount and sorted by time. Sending is left to `send`.

mod event;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::error::ReplayError;
use super::join::LookupTable;
use super::mapping::{Mapping, TimeSource};
use event::{DraftEvent, MappedEvents};
use rows::{EventTime, MappedRows, RowTime};

pub use event::PlannedEvent;

/// The part of the files that is replayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// Only this number of last rows of the first mapping, by time, and the same span of the others.
    pub last: Option<usize>,
    /// Only this number of first events of the selection.
    pub limit: Option<usize>,
    /// Moves all times by one shift, so that the latest becomes this one, epoch ms.
    pub shift_to: Option<i64>,
}

/// All events in the order of time. Events of one time are in the order of mappings, then rows.
#[derive(Debug)]
pub struct Plan {
    /// The events.
    pub events: Vec<PlannedEvent>,
    /// The shift that was added to every time, in ms.
    pub shift_ms: i64,
    /// Where the span starts, shifted, epoch ms.
    pub span_start: i64,
    /// For each mapping its name and how many rows its file has.
    pub mappings: Vec<(String, u64)>,
}

/// A mapping's events and when they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingSpan {
    /// How many events.
    pub events: u64,
    /// The earliest, epoch ms.
    pub first_time: i64,
    /// The latest, epoch ms.
    pub last_time: i64,
}

impl Plan {
    /// Reads the selected events from the mappings' files.
    pub fn read(mappings: &[Mapping], selection: Selection) -> Result<Self, ReplayError> {
        check_names(mappings)?;
        let tables = mappings.iter().map(load_tables).collect::<Result<Vec<_>, _>>()?;
        let start = match (selection.last, mappings.first().zip(tables.first())) {
            (Some(last), Some((first, tables))) => Some(start_of_last(first, tables, last)?),
            (None, _) | (_, None) => None,
        };
        let mut drafts = Vec::new();
        let mut rows = Vec::with_capacity(mappings.len());
        for (index, (mapping, tables)) in mappings.iter().zip(&tables).enumerate() {
            // The first mapping starts at the very row, the others at its time.
            let from = start.map(|(time, row)| if index == 0 { (time, row) } else { (time, 0) });
            let count = MappedEvents::new(mapping, index, tables, from).read(&mut drafts)?;
            rows.push((mapping.name.clone(), count));
        }
        Self::settle(drafts, rows, start.map(|(time, _)| time), selection)
    }

    /// Gives every event its final time, sorts, and cuts off what is past the limit.
    fn settle(
        drafts: Vec<DraftEvent>,
        mappings: Vec<(String, u64)>,
        start: Option<i64>,
        selection: Selection,
    ) -> Result<Self, ReplayError> {
        if drafts.is_empty() {
            return Ok(Self { events: Vec::new(), shift_ms: 0, span_start: 0, mappings });
        }
        let times = || drafts.iter().filter_map(|draft| draft.time.own());
        let Some((earliest, latest)) = times().min().zip(times().max()) else {
            let message = "no row with a time of its own is left; `span_start` needs at least one other mapping";
            return Err(ReplayError::Options(message.to_owned()));
        };
        let start = start.unwrap_or(earliest);
        let shift_ms = selection.shift_to.map_or(0, |now| now - latest);
        let mut events: Vec<PlannedEvent> = drafts.into_iter().map(|draft| draft.planned(start, shift_ms)).collect();
        events.sort_unstable_by_key(|event| (event.time, event.mapping, event.row));
        if let Some(limit) = selection.limit {
            events.truncate(limit);
        }
        Ok(Self { events, shift_ms, span_start: start + shift_ms, mappings })
    }

    /// The span of each mapping that has events, by the mapping's index.
    pub fn spans(&self) -> BTreeMap<usize, MappingSpan> {
        let mut spans: BTreeMap<usize, MappingSpan> = BTreeMap::new();
        for event in &self.events {
            let first = MappingSpan { events: 0, first_time: event.time, last_time: event.time };
            let span = spans.entry(event.mapping).or_insert(first);
            span.events += 1;
            span.first_time = span.first_time.min(event.time);
            span.last_time = span.last_time.max(event.time);
        }
        spans
    }
}

fn check_names(mappings: &[Mapping]) -> Result<(), ReplayError> {
    for (index, mapping) in mappings.iter().enumerate() {
        if mappings[..index].iter().any(|other| other.name == mapping.name) {
            let name = &mapping.name;
            let message =
                format!("two mappings are called `{name}`; give one of them another `name`, so that ids differ");
            return Err(ReplayError::Options(message));
        }
    }
    Ok(())
}

fn load_tables(mapping: &Mapping) -> Result<Vec<LookupTable>, ReplayError> {
    mapping.joins.iter().map(LookupTable::load).collect()
}

/// The first of the `last` latest rows.
fn start_of_last(mapping: &Mapping, tables: &[LookupTable], last: usize) -> Result<RowTime, ReplayError> {
    let TimeSource::Computed(_) = mapping.time else {
        let message = format!("--last counts rows of the first mapping, but `{}` has no time of its own", mapping.name);
        return Err(ReplayError::Options(message));
    };
    let rows = MappedRows { mapping, tables };
    let mut times = Vec::new();
    mapping.file.read(&mapping.columns[..mapping.columns_for_time], &mut |number, columns| {
        let time = rows.with_joins(number, columns, |row| rows.time(row))?;
        times.extend(time.and_then(EventTime::own).map(|time| (time, number)));
        Ok(())
    })?;
    if last == 0 || times.is_empty() {
        return Err(ReplayError::Options("--last selects no row; give a larger number".to_owned()));
    }
    let place = times.len().saturating_sub(last);
    Ok(*times.select_nth_unstable(place).1)
}
