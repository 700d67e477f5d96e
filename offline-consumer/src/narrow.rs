//! Narrows a block that ClickHouse refuses because of a row to the row at fault, which is then left out with a reason. A
//! row is at fault only if another row of the batch has been accepted; otherwise the table is, and all rows wait.

use millrace_common::log::DeadLetter;
use millrace_common::stores::clickhouse::{Fault, Layout};
use millrace_common::worker::{Fence, SinkError};
use millrace_core::event::Event;
use millrace_core::position::Position;

use crate::blocks::Block;
use crate::manifest::Manifest;
use crate::sink::{ClickHouseSink, InsertFailure};

/// The rows of a refused block that are sent alone, to see whether ClickHouse accepts any.
const SAMPLES: usize = 16;

impl ClickHouseSink {
    /// Goes on with a block of which ClickHouse refused a row. Rows whose properties cannot be read here either are left out.
    /// Then the halves are sent by themselves, down to the row at fault, once another row of the batch has been accepted.
    pub(crate) async fn divide<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        attempt: u32,
        failure: InsertFailure,
        fence: &F,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let events = block.events;
        let mut dead: Vec<DeadLetter> = Vec::new();
        for (position, event) in events {
            dead.extend(unreadable(event).map(|reason| self.refused(*position, event, reason)));
        }
        if !dead.is_empty() {
            let readable = |(position, _): &&(Position, Event)| dead.iter().all(|letter| letter.position != *position);
            let rest: Vec<(Position, Event)> = events.iter().filter(readable).cloned().collect();
            if !rest.is_empty() {
                let rows = self.rows(layout, &rest);
                let rest = Block { events: &rest, ..block };
                dead.extend(Box::pin(self.send_or_halve(layout, rest, rows, attempt, fence)).await?);
            }
            return Ok(dead);
        }
        let (before, behind) = match events {
            [] => return Ok(Vec::new()),
            [(position, event)] if self.taken || self.alone => {
                return Ok(vec![self.refused(*position, event, failure.reason)]);
            }
            [_] => return Err(self.nothing_goes_in(block, failure)),
            _ if self.taken => (0..events.len() / 2, events.len() / 2..events.len()),
            _ => match self.sample(layout, block, attempt, fence).await? {
                Some(accepted) => (0..accepted, accepted + 1..events.len()),
                None => return Err(self.nothing_goes_in(block, failure)),
            },
        };
        let pieces = [before, behind].into_iter().filter(|piece| !piece.is_empty()).map(|piece| block.piece(piece));
        for piece in pieces {
            let rows = self.rows(layout, piece.events);
            dead.extend(Box::pin(self.send_or_halve(layout, piece, rows, attempt, fence)).await?);
        }
        Ok(dead)
    }

    /// Sends rows of a block one by one, spread over the block, and others each time, until one is accepted. Returns its
    /// index.
    async fn sample<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        attempt: u32,
        fence: &F,
    ) -> Result<Option<usize>, SinkError> {
        let count = block.events.len();
        let samples = SAMPLES.min(count);
        let turn = self.samplings;
        self.samplings = turn.wrapping_add(1);
        for sample in 0..samples {
            let index = (sample * count / samples + turn) % count;
            let one = block.piece(index..index + 1);
            let rows = self.rows(layout, one.events);
            let manifest = Manifest::new(one.after, one.upto, &rows, attempt);
            match self.send(layout, &manifest, rows, fence).await? {
                Ok(()) => return Ok(Some(index)),
                Err(failure) if failure.fault == Fault::Row => {}
                Err(failure) => return Err(self.unknown(block, manifest, failure)),
            }
        }
        Ok(None)
    }

    /// The error where no row is accepted: the table is at fault, not the rows. Nothing has arrived, so the next attempt sends
    /// the whole block.
    fn nothing_goes_in(&mut self, block: Block<'_>, failure: InsertFailure) -> SinkError {
        let reason = format!("it accepts no row of the batch, so no single row is at fault: {}", failure.reason);
        tracing::error!(partition = self.partition.0, rows = block.events.len(), reason, "ClickHouse accepts no rows");
        if let Some(suspect) = &mut self.suspect {
            suspect.manifest = None;
        }
        SinkError::Transient { store: "clickhouse", reason }
    }
}

/// Why the properties of an event cannot be read. Ingest writes no such event.
fn unreadable(event: &Event) -> Option<String> {
    match millrace_core::json::parse(&event.properties, "properties") {
        Ok(value) if value.is_object() => None,
        Ok(_) => Some("properties: expected an object".to_owned()),
        Err(error) => Some(format!("{}: {}", error.path, error.message)),
    }
}
