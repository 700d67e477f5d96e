-- Every event, once. A row is a function of its log entry: nothing is filled in by the server.
-- Keys of the entities get typed columns of their own when definitions are applied.
CREATE TABLE IF NOT EXISTS events
(
    `type` LowCardinality(String) COMMENT 'Event type, as the definitions name it',
    `source` LowCardinality(String) COMMENT 'Who sent it; with event_id its identity',
    `event_id` String COMMENT 'Given by the sender, or made at ingest (id_given says which)',
    `partition_key` String COMMENT 'Canonical key of the entity that the type is partitioned by',
    `event_time` DateTime64(3, 'UTC') COMMENT 'When it says it happened; without a time of its own, when it arrived',
    `feature_time` DateTime64(3, 'UTC') COMMENT 'When it counts: the earlier of event_time and stream_time',
    `stream_time` DateTime64(3, 'UTC') COMMENT 'When the log took it: stream_ms as a time',
    `partition` UInt16 COMMENT 'Partition of the log',
    `stream_ms` UInt64 COMMENT 'Its place in the partition: milliseconds of the stream id',
    `stream_seq` UInt64 COMMENT 'Its place in the partition: sequence of the stream id',
    `id_given` Bool COMMENT 'Whether a resend can be known by its id',
    `traceparent` String COMMENT 'W3C trace context of the request; empty if none',
    `properties` JSON COMMENT 'Its properties; declared decimals are strings'
)
-- Replacing, because a row that was sent twice after all must still meet its twin: the sorting key ends with the
-- position. Twins share their month, because stream time belongs to the position.
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(stream_time)
PRIMARY KEY (`type`, partition_key, feature_time)
ORDER BY (`type`, partition_key, feature_time, event_id, `partition`, stream_ms, stream_seq)
-- How many inserts back a resent token is still known.
SETTINGS non_replicated_deduplication_window = 10000;
