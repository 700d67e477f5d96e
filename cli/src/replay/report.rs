//! What a replay did, as JSON: enough for a checker to know every event's time.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::error::ReplayError;
use super::plan::Plan;
use super::send::Tally;

/// The report. All times are epoch ms as sent, that is, shifted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was added to each time of the files, ms.
    pub shift_ms: i64,
    /// The time that `span_start` stood for.
    pub span_start: i64,
    /// The earliest event.
    pub first_time: Option<i64>,
    /// The latest event.
    pub last_time: Option<i64>,
    /// Events that were to be sent and have an answer.
    pub sent: u64,
    /// Events that ingest accepted.
    pub accepted: u64,
    /// Events that ingest refused.
    pub rejected: u64,
    /// Events sent again because no answer had told whether they were accepted. Their ids are the same.
    pub duplicates_sent: u64,
    /// How long sending took.
    pub seconds: f64,
    /// By mapping.
    pub mappings: BTreeMap<String, MappingReport>,
}

/// One mapping's part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MappingReport {
    /// Rows in its file.
    pub rows: u64,
    /// Events selected of them.
    pub events: u64,
    /// Accepted by ingest.
    pub accepted: u64,
    /// Refused by ingest.
    pub rejected: u64,
    /// Its earliest event.
    pub first_time: Option<i64>,
    /// Its latest event.
    pub last_time: Option<i64>,
}

impl Report {
    /// What is planned, before anything is sent.
    pub fn of(plan: &Plan) -> Self {
        let spans = plan.spans();
        let mapping = |(index, (name, rows)): (usize, &(String, u64))| {
            let span = spans.get(&index);
            let report = MappingReport {
                rows: *rows,
                events: span.map_or(0, |(events, _, _)| *events),
                first_time: span.map(|(_, first, _)| *first),
                last_time: span.map(|(_, _, last)| *last),
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

    /// Adds what came of it; `names` are the plan's mappings.
    pub fn with_outcome(mut self, tally: &Tally, names: &[(String, u64)], seconds: f64) -> Self {
        for (index, outcome) in tally.by_mapping() {
            if let Some(mapping) = names.get(index).and_then(|(name, _)| self.mappings.get_mut(name)) {
                (mapping.accepted, mapping.rejected) = (outcome.accepted, outcome.rejected);
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
