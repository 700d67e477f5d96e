//! The properties of a log that it was created with and keeps.

/// The format of entries and keys that this binary writes.
pub const FORMAT: u32 = 1;

/// The properties of a log that never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMeta {
    /// P: the number of partitions.
    pub partitions: u16,
    /// H: the time within which a resend is known, in ms of stream time.
    pub dedupe_ms: u64,
    /// The hash that divides keys among partitions.
    pub hash: String,
    /// The format of entries and keys.
    pub format: u32,
}

impl LogMeta {
    /// P = 8.
    pub const DEFAULT_PARTITIONS: u16 = 8;
    /// H = 5 min.
    pub const DEFAULT_DEDUPE_MS: u64 = 300_000;

    /// A log with these two numbers, in the hash and format of this binary.
    pub fn new(partitions: u16, dedupe_ms: u64) -> Self {
        Self { partitions, dedupe_ms, hash: millrace_core::partition::HASH_NAME.to_owned(), format: FORMAT }
    }
}

impl Default for LogMeta {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PARTITIONS, Self::DEFAULT_DEDUPE_MS)
    }
}
