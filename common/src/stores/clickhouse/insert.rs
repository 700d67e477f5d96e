//! Sends rows. The whole body is in memory before the request is opened. One INSERT is one block, and its token lets the server
//! leave out a second arrival.

use bytes::Bytes;

use super::client::{ClickHouse, within};
use super::error::ClickHouseError;
use super::rows::{Layout, Rows};

/// The bytes of one write to the socket.
const CHUNK: usize = 512 * 1024;
/// More rows than any batch has, so that the server never cuts a block in two, each with a token of its own.
const MAX_BLOCK_ROWS: &str = "1048576";

/// Sent with every INSERT: several defaults of the server have changed between versions.
const SETTINGS: [(&str, &str); 11] = [
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    // The roll-up gets the same token, and leaves out the rows that it has already.
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", MAX_BLOCK_ROWS),
    ("max_insert_threads", "1"),
    // No two rows of a block share a sorting key, and the roll-up groups by its own key. There is nothing to merge before
    // the part is written, and the search for it takes a sixth of the time.
    ("optimize_on_insert", "0"),
    // Properties are sent as JSON text. A text in them that looks like a time stays text.
    ("input_format_binary_read_json_as_string", "1"),
    ("input_format_try_infer_dates", "0"),
    ("input_format_try_infer_datetimes", "0"),
    ("input_format_json_read_bools_as_numbers", "0"),
    ("input_format_parallel_parsing", "0"),
];

impl ClickHouse {
    /// Sends rows of `events` under a token. After an error other than [`super::Fault::Row`] the rows may have arrived.
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
        within(self.insert_timeout(), call).await
    }
}
