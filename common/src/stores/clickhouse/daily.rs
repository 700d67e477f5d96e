//! Corrects the daily roll-up after an INSERT whose outcome was unknown: the roll-up is compared with the events, and the
//! difference is added. Only the partition's owner does this, so no other process writes those rows meanwhile.

use millrace_core::partition::Partition;
use xxhash_rust::xxh3::xxh3_64;

use super::client::{ClickHouse, TIMEOUT, within};
use super::error::ClickHouseError;
use super::rows;

/// The rounds until the roll-up must agree. The second one finds no difference unless another INSERT was still in flight.
const ROUNDS: u32 = 5;

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
    /// Makes the roll-up of these days (since the epoch) agree with the events. `token` names the occasion, so that an INSERT of
    /// an earlier attempt that arrives late is left out.
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

    async fn daily_differences(
        &self,
        partition: Partition,
        days: &[i32],
    ) -> Result<Vec<(i32, String, i64)>, ClickHouseError> {
        let query = self.client.query_raw(DIFFERENCE).param("partition", partition.0).param("days", days);
        within(TIMEOUT, query.fetch_all()).await
    }
}
