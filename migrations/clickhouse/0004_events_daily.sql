-- Events per day of feature time. Rows carry the log partition, so only the partition's owner writes them; after an
-- insert whose outcome was unknown, the owner adds the difference to what `events` says, which may be negative.
-- Read it with sum(events).
CREATE TABLE IF NOT EXISTS events_daily_counts
(
    `day` Date32 COMMENT 'Day of feature_time, UTC',
    `type` LowCardinality(String) COMMENT 'Event type',
    `partition` UInt16 COMMENT 'Partition of the log',
    `events` Int64 COMMENT 'How many events, or a correction'
)
ENGINE = SummingMergeTree
ORDER BY (`day`, `type`, `partition`)
-- A target of a materialized view knows resent tokens only by a window of its own.
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS events_daily TO events_daily_counts AS
SELECT toDate32(feature_time) AS `day`, `type`, `partition`, toInt64(count()) AS events
FROM events
GROUP BY `day`, `type`, `partition`;
