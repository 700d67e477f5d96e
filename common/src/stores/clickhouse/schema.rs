//! The migrations from `migrations/clickhouse`, and the columns that `apply` adds for definitions. Applied migrations are
//! recorded with a hash of their text; an edited one is refused.

use millrace_core::definitions::Definitions;
use millrace_core::sql;
use xxhash_rust::xxh3::xxh3_128;

use super::client::{ClickHouse, TIMEOUT, within};
use super::error::ClickHouseError;
use super::rows::text;
use crate::clock::now_ms;

/// Name and text, in order; forward only.
const MIGRATIONS: [(&str, &str); 4] = [
    ("0001_events", include_str!("../../../../migrations/clickhouse/0001_events.sql")),
    ("0002_dead_letters", include_str!("../../../../migrations/clickhouse/0002_dead_letters.sql")),
    ("0003_definitions", include_str!("../../../../migrations/clickhouse/0003_definitions.sql")),
    ("0004_events_daily", include_str!("../../../../migrations/clickhouse/0004_events_daily.sql")),
];

const APPLIED: &str = "CREATE TABLE IF NOT EXISTS schema_migrations \
     (name String, checksum String, applied_at DateTime64(3, 'UTC')) ENGINE = ReplacingMergeTree ORDER BY name";

/// Brings the database of `namespace` up to date. Applying twice changes nothing. Returns the migrations that were applied
/// now.
pub async fn migrate(url: &str, namespace: &str) -> Result<Vec<String>, ClickHouseError> {
    let store = ClickHouse::connect(url, namespace)?;
    let database = format!("CREATE DATABASE IF NOT EXISTS {}", sql::quote_name(namespace));
    let server = store.client.clone().with_database("default");
    within(TIMEOUT, server.query_raw(&database).execute()).await?;
    store.migrate(&MIGRATIONS).await
}

impl ClickHouse {
    async fn migrate(&self, migrations: &[(&str, &str)]) -> Result<Vec<String>, ClickHouseError> {
        self.execute(APPLIED).await?;
        let applied = "SELECT name, checksum FROM schema_migrations FINAL ORDER BY name";
        let applied: Vec<(String, String)> = within(TIMEOUT, self.client.query_raw(applied).fetch_all()).await?;
        let mut now = Vec::new();
        for (name, content) in migrations {
            let checksum = format!("{:032x}", xxh3_128(content.as_bytes()));
            match applied.iter().find(|(known, _)| known == name) {
                Some((_, known)) if *known == checksum => continue,
                Some(_) => return Err(ClickHouseError::Edited((*name).to_owned())),
                None => {}
            }
            for statement in statements(content) {
                self.execute(&statement).await?;
            }
            let mut body = Vec::new();
            text(&mut body, name);
            text(&mut body, &checksum);
            body.extend_from_slice(&now_ms().to_le_bytes());
            self.send("INSERT INTO schema_migrations (name, checksum, applied_at) FORMAT RowBinary", body, name)
                .await?;
            now.push((*name).to_owned());
        }
        Ok(now)
    }

    /// Adds to the tables the columns that these definitions need. A second call changes nothing. It must come before their
    /// control entries, so that no row meets a table without its columns.
    pub async fn apply_definitions(&self, definitions: &Definitions) -> Result<(), ClickHouseError> {
        for statement in sql::apply(definitions) {
            self.execute(&statement).await?;
        }
        Ok(())
    }

    /// Records a version that is in force, once.
    pub async fn record_definitions(&self, definitions: &Definitions, version: u32) -> Result<(), ClickHouseError> {
        let source = serde_json::to_string(&definitions.source)
            .map_err(|error| ClickHouseError::Unexpected(format!("definitions as JSON: {error}")))?;
        let known = self.client.query_raw("SELECT source FROM definitions WHERE version = {version:UInt32} LIMIT 1");
        let known: Option<String> = within(TIMEOUT, known.param("version", version).fetch_optional()).await?;
        match known {
            Some(known) if known != source => return Err(ClickHouseError::OtherDefinitions(version)),
            Some(_) => return Ok(()),
            None => {}
        }
        let mut body = version.to_le_bytes().to_vec();
        text(&mut body, &source);
        body.extend_from_slice(&now_ms().to_le_bytes());
        let insert = "INSERT INTO definitions (version, source, applied_at) FORMAT RowBinary";
        self.send(insert, body, &format!("definitions:{version}")).await
    }
}

/// The statements of a migration: each ends with `;` at the end of a line. Comments are left to the server, but a chunk of
/// comments alone is not a statement.
fn statements(content: &str) -> Vec<String> {
    let is_code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
    let chunks = content.split(";\n").map(|chunk| chunk.trim().trim_end_matches(';').to_owned());
    chunks.filter(|chunk| chunk.lines().any(is_code)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_cut_into_statements() {
        assert_eq!(statements("-- a\nSELECT 1;\n\n-- b\nSELECT ';';\n-- end\n").len(), 2);
        assert_eq!(MIGRATIONS.map(|(_, content)| statements(content).len()), [1, 1, 1, 2]);
    }
}
