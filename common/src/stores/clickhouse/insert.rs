//! Sending rows: the whole body is in memory before the request is opened, one insert is one block, and a token says
//! which one it is, so that the server leaves out a second one.

use bytes::Bytes;

use super::{ClickHouse, ClickHouseError, Layout, Rows, within};

/// What one write to the socket carries.
const CHUNK: usize = 512 * 1024;
/// More than any batch has: a block of ours is never cut in two, each with a token of its own.
const MAX_BLOCK_ROWS: &str = "1048576";

/// Said with every insert, whatever the server's defaults are; several have changed between versions.
const SETTINGS: [(&str, &str); 11] = [
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    // The roll-up is told the same token, and leaves out what it has already.
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", MAX_BLOCK_ROWS),
    ("max_insert_threads", "1"),
    // No two rows of a block share a sorting key, and the roll-up groups by its own: there is nothing to fold before
    // the part is written, and looking for it takes a sixth of the time.
    ("optimize_on_insert", "0"),
    // Properties are sent as JSON text, and what looks like a time in them stays text.
    ("input_format_binary_read_json_as_string", "1"),
    ("input_format_try_infer_dates", "0"),
    ("input_format_try_infer_datetimes", "0"),
    ("input_format_json_read_bools_as_numbers", "0"),
    ("input_format_parallel_parsing", "0"),
];

impl ClickHouse {
    /// Sends rows of `events` under a token. An error that is no [`super::Fault::Row`] leaves it open whether they
    /// arrived.
    pub async fn insert(&self, layout: &Layout, rows: Rows, token: &str) -> Result<(), ClickHouseError> {
        self.send(layout.insert(), rows.into_body(), token).await
    }

    pub(super) async fn send(&self, sql: &str, body: Vec<u8>, token: &str) -> Result<(), ClickHouseError> {
        let insert = self.client.insert_formatted_with(sql).with_setting("insert_deduplication_token", token);
        let mut insert = SETTINGS.iter().fold(insert, |insert, (name, value)| insert.with_setting(*name, *value));
        let mut body = Bytes::from(body);
        let call = async {
            while !body.is_empty() {
                insert.send(body.split_to(CHUNK.min(body.len()))).await?;
            }
            insert.end().await
        };
        within(self.insert_timeout, call).await
    }
}
