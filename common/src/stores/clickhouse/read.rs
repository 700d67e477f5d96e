//! Reads back the positions of the rows that arrived.

use millrace_core::partition::Partition;
use millrace_core::position::Position;

use super::client::{ClickHouse, TIMEOUT, within};
use super::error::ClickHouseError;

/// The rows of one range of a partition. Stream time goes first, because parts are laid out by it.
const RANGE: &str = "FROM events WHERE stream_time >= fromUnixTimestamp64Milli({after:Int64}, 'UTC') \
     AND `partition` = {partition:UInt16} \
     AND (stream_ms, stream_seq) > ({after_ms:UInt64}, {after_seq:UInt64})";

impl ClickHouse {
    /// The positions that have a row, after `after` up to and including `upto`, in order.
    pub async fn positions(
        &self,
        partition: Partition,
        after: Position,
        upto: Position,
    ) -> Result<Vec<Position>, ClickHouseError> {
        let sql = format!(
            "SELECT DISTINCT stream_ms, stream_seq {RANGE} \
             AND (stream_ms, stream_seq) <= ({{upto_ms:UInt64}}, {{upto_seq:UInt64}}) ORDER BY stream_ms, stream_seq"
        );
        let query = self.range(&sql, partition, after).param("upto_ms", upto.ms).param("upto_seq", upto.seq);
        let rows = within(TIMEOUT, query.fetch_all::<(u64, u64)>()).await?;
        Ok(rows.into_iter().map(|(ms, seq)| Position::new(ms, seq)).collect())
    }

    /// The last position after `after` that has a row.
    pub async fn last_position(
        &self,
        partition: Partition,
        after: Position,
    ) -> Result<Option<Position>, ClickHouseError> {
        let sql = format!("SELECT stream_ms, stream_seq {RANGE} ORDER BY stream_ms DESC, stream_seq DESC LIMIT 1");
        let query = self.range(&sql, partition, after);
        let row = within(TIMEOUT, query.fetch_optional::<(u64, u64)>()).await?;
        Ok(row.map(|(ms, seq)| Position::new(ms, seq)))
    }

    fn range(&self, sql: &str, partition: Partition, after: Position) -> ::clickhouse::query::Query {
        let query = self.client.query_raw(sql).param("partition", partition.0).param("after", after.stream_time());
        query.param("after_ms", after.ms).param("after_seq", after.seq)
    }
}
