-- The definitions that were applied, as they stand beside the log.
CREATE TABLE IF NOT EXISTS definitions
(
    `version` UInt32 COMMENT 'Number of the definitions',
    `source` String COMMENT 'YAML and schemas, as JSON',
    `applied_at` DateTime64(3, 'UTC') COMMENT 'When they were first applied here, on the clock of who applied them'
)
ENGINE = ReplacingMergeTree
ORDER BY `version`
SETTINGS non_replicated_deduplication_window = 10000;
