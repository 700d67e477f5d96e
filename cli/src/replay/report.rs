//! The report of a replay, as JSON. It lets a checker compute the time of every event.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::error::ReplayError;
use super::plan::Plan;
use super::tally::Tally;

/// The report. All times are epoch ms as sent, which means shifted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplayReport {
    /// The shift that was added to each time of the files, ms.
    pub shift_ms: i64,
    /// The time of events with `time: span_start`.
    pub span_start: i64,
    /// The earliest event.
    pub first_time: Option<i64>,
    /// The latest event.
    pub last_time: Option<i64>,
    /// Events that were sent and that ingest replied to.
    pub sent: u64,
    /// Events that ingest accepted.
    pub accepted: u64,
    /// Events that ingest rejected.
    pub rejected: u64,
    /// Events sent again because no reply said whether they were accepted. They keep their ids.
    pub duplicates_sent: u64,
    /// How long sending took.
    pub seconds: f64,
    /// Each mapping's part, by its name.
    pub mappings: BTreeMap<String, MappingReport>,
}

/// One mapping's part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MappingReport {
    /// Rows in its file.
    pub rows: u64,
    /// Events selected from those rows.
    pub events: u64,
    /// Accepted by ingest.
    pub accepted: u64,
    /// Rejected by ingest.
    pub rejected: u64,
    /// Its earliest event.
    pub first_time: Option<i64>,
    /// Its latest event.
    pub last_time: Option<i64>,
}

impl ReplayReport {
    /// The report of a plan, before anything is sent.
    pub fn of(plan: &Plan) -> Self {
        let spans = plan.spans();
        let mapping = |(index, (name, rows)): (usize, &(String, u64))| {
            let span = spans.get(&index);
            let report = MappingReport {
                rows: *rows,
                events: span.map_or(0, |span| span.events),
                first_time: span.map(|span| span.first_time),
                last_time: span.map(|span| span.last_time),
                ..MappingReport::default()
            };
            (name.clone(), report)
        };
        Self {
            shift_ms: plan.shift_ms,
            span_start: plan.span_start,
            first_time: plan.events.first().map(|event| event.time),
            last_time: plan.events.last().map(|event| event.time),
            mappings: plan.mappings.iter().enumerate().map(mapping).collect(),
            ..Self::default()
        }
    }

    /// Adds the counts after sending. `names` are the plan's mappings.
    pub fn with_outcome(mut self, tally: &Tally, names: &[(String, u64)], seconds: f64) -> Self {
        for (index, counts) in tally.by_mapping() {
            if let Some(mapping) = names.get(index).and_then(|(name, _)| self.mappings.get_mut(name)) {
                (mapping.accepted, mapping.rejected) = (counts.accepted, counts.rejected);
            }
        }
        let (sent, accepted, duplicates_sent) = (tally.settled(), tally.accepted(), tally.resent());
        Self { sent, accepted, rejected: sent - accepted, duplicates_sent, seconds, ..self }
    }

    /// Writes it to a file.
    pub fn write(&self, path: &Path) -> Result<(), ReplayError> {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        std::fs::write(path, json + "\n").map_err(ReplayError::file(path))
    }
}
