-- What sinks left out, and why: a copy of the streams `dead:{p}`, so that SQL can leave out the same.
-- An empty view or key means: all of that sink.
CREATE TABLE IF NOT EXISTS dead_letters
(
    `group` LowCardinality(String) COMMENT 'Consumer group',
    `sink` LowCardinality(String) COMMENT 'Sink of that group',
    `view` LowCardinality(String) COMMENT 'name@version of the feature view that missed it; empty: all',
    `key` String COMMENT 'Canonical entity key that missed it; empty: all that it names',
    `partition` UInt16 COMMENT 'Partition of the log',
    `stream_ms` UInt64 COMMENT 'The place of the entry: milliseconds of its stream id',
    `stream_seq` UInt64 COMMENT 'The place of the entry: sequence of its stream id',
    `event_id` String COMMENT 'Its event id; empty if it has none',
    `reason` String COMMENT 'Why',
    `raw` String COMMENT 'The entry as it was read, or its beginning',
    `dead_ms` UInt64 COMMENT 'The place of the letter in its stream: milliseconds',
    `dead_seq` UInt64 COMMENT 'The place of the letter in its stream: sequence'
)
ENGINE = ReplacingMergeTree
ORDER BY (`group`, `sink`, `partition`, stream_ms, stream_seq, `view`, `key`, dead_ms, dead_seq)
SETTINGS non_replicated_deduplication_window = 10000;
