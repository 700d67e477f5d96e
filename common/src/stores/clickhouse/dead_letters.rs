//! Writes copies of dead letters. Each row carries its position in the stream of letters, so a resent row replaces its twin.

use millrace_core::partition::Partition;
use millrace_core::position::Position;

use super::client::ClickHouse;
use super::error::ClickHouseError;
use super::rows::text;
use crate::log::DeadLetter;

const INSERT: &str = "INSERT INTO dead_letters (`group`, `sink`, `view`, `key`, `partition`, stream_ms, stream_seq, \
     event_id, reason, raw, dead_ms, dead_seq) FORMAT RowBinary";

impl ClickHouse {
    /// Writes letters of one partition, each with its position in the stream of letters.
    pub async fn insert_dead_letters(
        &self,
        partition: Partition,
        letters: &[(Position, DeadLetter)],
    ) -> Result<(), ClickHouseError> {
        let (Some((first, _)), Some((last, _))) = (letters.first(), letters.last()) else { return Ok(()) };
        let mut body = Vec::new();
        for (place, letter) in letters {
            for part in [&letter.group, &letter.sink] {
                text(&mut body, part);
            }
            for part in [&letter.view, &letter.key] {
                text(&mut body, part.as_deref().unwrap_or_default());
            }
            body.extend_from_slice(&partition.0.to_le_bytes());
            body.extend_from_slice(&letter.position.ms.to_le_bytes());
            body.extend_from_slice(&letter.position.seq.to_le_bytes());
            text(&mut body, letter.event_id.as_deref().unwrap_or_default());
            text(&mut body, &letter.reason);
            text(&mut body, &letter.raw);
            body.extend_from_slice(&place.ms.to_le_bytes());
            body.extend_from_slice(&place.seq.to_le_bytes());
        }
        self.send(INSERT, body, &format!("dead:{partition}:{first}:{last}")).await
    }
}
