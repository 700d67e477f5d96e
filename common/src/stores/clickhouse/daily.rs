//! Corrects the daily roll-up (`events_daily_counts`) after an INSERT into `events` whose outcome was unknown. Usually a
//! materialized view keeps the roll-up; here it is compared with the events, and the difference is inserted. Only the
//! partition's owner does this, so no other process changes the partition's rows at the same time. The decision when a
//! correction is needed is left to the ClickHouse sink.

use millrace_core::partition::Partition;
use xxhash_rust::xxh3::xxh3_64;

use super::client::{ClickHouse, TIMEOUT, within};
use super::error::ClickHouseError;
use super::rows;

/// The most times that the roll-up is compared with the events. The second comparison finds no difference unless an earlier
/// INSERT arrived between the two.
const ROUNDS: u32 = 5;

/// The number of events minus the roll-up, by day and type, where it is not 0.
const DIFFERENCE: &str = "SELECT toInt32(day) AS day, toString(type) AS type, sum(n) AS events FROM ( \
       SELECT toDate32(feature_time) AS day, type, toInt64(count()) AS n FROM events FINAL \
       WHERE `partition` = {partition:UInt16} AND toInt32(toDate32(feature_time)) IN {days:Array(Int32)} \
       GROUP BY day, type \
     UNION ALL \
       SELECT day, type, -sum(events) AS n FROM events_daily_counts \
       WHERE `partition` = {partition:UInt16} AND toInt32(day) IN {days:Array(Int32)} GROUP BY day, type \
     ) GROUP BY day, type HAVING events != 0 ORDER BY day, type";

const INSERT: &str = "INSERT INTO events_daily_counts (`day`, `type`, `partition`, `events`) FORMAT RowBinary";

impl ClickHouse {
    /// Makes the roll-up of these days agree with the events of the partition. A day is the number of days since 1970-01-01.
    /// `token` names the range of events whose INSERT was in doubt. A retry for the same range passes the same one: if it
    /// finds the same difference, its INSERT has the token of the earlier one, and ClickHouse keeps only one of the two.
    /// After an error the roll-up may still differ, and the caller tries again.
    pub async fn settle_daily(&self, partition: Partition, days: &[i32], token: &str) -> Result<(), ClickHouseError> {
        for round in 0..ROUNDS {
            let differences = self.daily_differences(partition, days).await?;
            if differences.is_empty() {
                return Ok(());
            }
            let mut body = Vec::new();
            for (day, event_type, events) in &differences {
                body.extend_from_slice(&day.to_le_bytes());
                rows::text(&mut body, event_type);
                body.extend_from_slice(&partition.0.to_le_bytes());
                body.extend_from_slice(&events.to_le_bytes());
            }
            let token = format!("daily:{token}:{:016x}:{round}", xxh3_64(&body));
            self.send(INSERT, body, &token).await?;
        }
        Err(ClickHouseError::Unexpected("the daily roll-up does not settle".into()))
    }

    /// The rows to insert: day, event type, and the number to add, which may be negative.
    async fn daily_differences(
        &self,
        partition: Partition,
        days: &[i32],
    ) -> Result<Vec<(i32, String, i64)>, ClickHouseError> {
        let query = self.client.query_raw(DIFFERENCE).param("partition", partition.0).param("days", days);
        within(TIMEOUT, query.fetch_all()).await
    }
}
