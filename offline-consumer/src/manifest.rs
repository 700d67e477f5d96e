//! The record of an INSERT in the cursor, written before it is sent. It is enough to send the same rows again and to recognize
//! them.

use millrace_common::stores::clickhouse::Rows;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use serde::{Deserialize, Serialize};

/// One INSERT: a range of a partition and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The position before the range.
    pub after: String,
    /// The last position of the range.
    pub upto: String,
    /// The number of rows.
    pub rows: u64,
    /// A hash of the rows.
    pub hash: u64,
    /// The number of the attempt at this range. An attempt that sends other rows has another number, so another token.
    pub attempt: u32,
}

impl Manifest {
    /// The record of `rows` of a range.
    pub fn new(after: Position, upto: Position, rows: &Rows, attempt: u32) -> Self {
        let (after, upto) = (after.to_string(), upto.to_string());
        Self { after, upto, rows: rows.count(), hash: rows.hash(), attempt }
    }

    /// Its range: the position before it, and its last.
    pub fn range(&self) -> Option<(Position, Position)> {
        Some((self.after.parse().ok()?, self.upto.parse().ok()?))
    }

    /// The token by which ClickHouse leaves out a second arrival.
    pub fn token(&self, partition: Partition) -> String {
        format!("events:{partition}:{}:{}:{}:{:016x}", self.after, self.upto, self.attempt, self.hash)
    }

    /// Whether the other names the same rows of the same range.
    pub fn names(&self, other: &Self) -> bool {
        (&self.after, &self.upto, self.rows, self.hash) == (&other.after, &other.upto, other.rows, other.hash)
    }

    /// Its text in the cursor.
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Reads the text from the cursor. Returns None where another binary wrote something else.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next owner may be of another version.
    #[test]
    fn its_text_in_the_cursor_and_its_token_are_what_they_always_were() {
        let manifest = Manifest { after: "5-0".into(), upto: "9-2".into(), rows: 3, hash: 255, attempt: 1 };
        let text = r#"{"after":"5-0","attempt":1,"hash":255,"rows":3,"upto":"9-2"}"#;
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(json(&manifest.to_text()), json(text));
        assert_eq!(Manifest::from_text(text), Some(manifest.clone()));
        assert_eq!(manifest.token(Partition(4)), "events:4:5-0:9-2:1:00000000000000ff");
        assert_eq!(manifest.range(), Some((Position::new(5, 0), Position::new(9, 2))));
        assert_eq!(Manifest::from_text("range"), None);
    }
}
