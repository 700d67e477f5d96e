//! The query of a batch view: its columns, and its rows as they arrive, at most one chunk of them in memory.

use std::time::Duration;

use ::clickhouse::query::BytesCursor;
use bytes::{Bytes, BytesMut};
use millrace_core::sql::{BATCH_FORMAT, BATCH_SETTINGS, BatchColumn, SqlQuery};
use serde_json::Value;

use super::client::{ClickHouse, TIMEOUT, within};
use super::error::ClickHouseError;

/// How long the server may be silent. A query that sorts or joins is silent for long.
const SILENCE: Duration = Duration::from_secs(1_800);
/// The longest row.
const MAX_ROW_BYTES: usize = 16 << 20;

/// Rows of a query, one JSON array per line.
pub struct BatchRows {
    cursor: BytesCursor,
    buffer: BytesMut,
    ended: bool,
}

impl ClickHouse {
    /// Has the server parse a query.
    pub async fn batch_parse(&self, query: &SqlQuery) -> Result<(), ClickHouseError> {
        within(TIMEOUT, self.batch(query).execute()).await
    }

    /// The columns that a query returns.
    pub async fn batch_columns(&self, query: &SqlQuery) -> Result<Vec<BatchColumn>, ClickHouseError> {
        let mut cursor = self.batch(query).fetch_bytes("JSONCompactEachRow").map_err(ClickHouseError::from)?;
        let answer = within(TIMEOUT, cursor.collect()).await?;
        let row = |line: &[u8]| -> Result<BatchColumn, ClickHouseError> {
            let cells: Vec<Value> = serde_json::from_slice(line).map_err(unexpected)?;
            match cells.as_slice() {
                [Value::String(name), Value::String(kind), ..] => {
                    Ok(BatchColumn { name: name.clone(), kind: kind.clone() })
                }
                _ => Err(ClickHouseError::Unexpected("a column without a name or a type".to_owned())),
            }
        };
        answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(row).collect()
    }

    /// Runs the query. Nothing is read before the first [`BatchRows::next`].
    pub fn batch_rows(&self, query: &SqlQuery) -> Result<BatchRows, ClickHouseError> {
        let cursor = self.batch(query).fetch_bytes(BATCH_FORMAT).map_err(ClickHouseError::from)?;
        Ok(BatchRows { cursor, buffer: BytesMut::new(), ended: false })
    }

    /// Runs a query that returns one number: the number of rows to come, for a progress bar.
    pub async fn batch_count(&self, query: &SqlQuery, timeout: Duration) -> Result<u64, ClickHouseError> {
        let query = self.batch(query).with_setting("max_execution_time", (timeout.as_secs() + 1).to_string());
        within(timeout, query.fetch_one::<u64>()).await
    }

    fn batch(&self, query: &SqlQuery) -> ::clickhouse::query::Query {
        let ask = self.ask_unbounded(query);
        BATCH_SETTINGS.iter().fold(ask, |ask, (name, value)| ask.with_setting(*name, *value))
    }
}

impl BatchRows {
    /// Whole lines of about `bytes`, or None after the last. After an error rows may be missing.
    pub async fn next(&mut self, bytes: usize) -> Result<Option<Bytes>, ClickHouseError> {
        while self.buffer.len() < bytes && !self.ended {
            self.read().await?;
        }
        loop {
            let first = &self.buffer[..self.buffer.len().min(bytes)];
            let is_end = |byte: &u8| *byte == b'\n';
            match first.iter().rposition(is_end).or_else(|| self.buffer.iter().position(is_end)) {
                Some(end) => return Ok(Some(self.buffer.split_to(end + 1).freeze())),
                None if self.ended && self.buffer.is_empty() => return Ok(None),
                None if self.ended => {
                    return Err(ClickHouseError::Unavailable("the answer ends within a row".to_owned()));
                }
                None if self.buffer.len() > MAX_ROW_BYTES => {
                    return Err(ClickHouseError::Unexpected(format!("a row has more than {MAX_ROW_BYTES} bytes")));
                }
                None => self.read().await?,
            }
        }
    }

    async fn read(&mut self) -> Result<(), ClickHouseError> {
        match within(SILENCE, self.cursor.next()).await? {
            Some(bytes) => self.buffer.extend_from_slice(&bytes),
            None => self.ended = true,
        }
        Ok(())
    }
}

fn unexpected(error: serde_json::Error) -> ClickHouseError {
    ClickHouseError::Unexpected(format!("a description of columns: {error}"))
}
