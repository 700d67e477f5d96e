//! Which partition a key belongs to. The function is fixed for the life of a log: its goldens never change.

use std::fmt;

/// The number of a partition, `0 ≤ p < P`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

/// The name under which [`partition_of`] is stored with the log.
pub const HASH_NAME: &str = "xxh3_64";

/// `xxh3_64(canonical key text) % partitions`. `partitions` is at least 1.
pub fn partition_of(key_text: &str, partitions: u16) -> Partition {
    let hash = xxhash_rust::xxh3::xxh3_64(key_text.as_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u16 fits in one")]
    Partition((hash % u64::from(partitions.max(1))) as u16)
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        let golden = [("1", 8), ("2", 8), ("17850", 8), ("user-1", 8), ("a,b", 8), ("", 8), ("1", 1), ("1", 1000)];
        let partitions: Vec<u16> = golden.iter().map(|(key, p)| partition_of(key, *p).0).collect();
        assert_eq!(partitions, GOLDEN);
    }

    const GOLDEN: [u16; 8] = [0, 4, 6, 1, 6, 2, 0, 464];

    #[test]
    fn keys_spread_evenly() {
        let mut counts = [0u32; 8];
        for key in 0..80_000 {
            counts[usize::from(partition_of(&key.to_string(), 8).0)] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
