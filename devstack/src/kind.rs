//! The three stores by name: for people, for their folders, and for the variables of their URLs.

use serde::{Deserialize, Serialize};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// The log and the online state.
    Redis,
    /// Profiles.
    MongoDb,
    /// The offline store.
    ClickHouse,
}

impl StoreKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis, Self::MongoDb, Self::ClickHouse];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::MongoDb => "MongoDB",
            Self::ClickHouse => "ClickHouse",
        }
    }

    /// The name of its folder inside the stack's folder. Its log lies beside that folder, with the ending `.log`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MongoDb => "mongodb",
            Self::ClickHouse => "clickhouse",
        }
    }

    /// The variable that carries its URL.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_URL",
            Self::MongoDb => "MONGODB_URL",
            Self::ClickHouse => "CLICKHOUSE_URL",
        }
    }

    pub(crate) fn url(self, port: u16) -> String {
        let scheme = match self {
            Self::Redis => "redis",
            Self::MongoDb => "mongodb",
            Self::ClickHouse => "http",
        };
        format!("{scheme}://127.0.0.1:{port}")
    }
}
