//! Features that are computed from the events, for on-demand views.

use std::collections::HashMap;
use std::time::Duration;

use ::clickhouse::Row;
use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Definitions, View};
use millrace_core::key::KeyText;
use millrace_core::sql::{FeatureRow, Scope, decode, decode_key, features};
use serde::Deserialize;

use super::client::{ClickHouse, MAX_QUERY_BYTES, within};
use super::error::ClickHouseError;

/// The most keys per query. They travel in the URL, which the server bounds at 1 MiB.
const KEYS_PER_QUERY: usize = 500;

#[derive(Row, Deserialize)]
struct Answer {
    key_parts: Vec<String>,
    newest: i64,
    features: Vec<Option<String>>,
}

impl ClickHouse {
    /// The wanted features of a view at `scope.t` for each key, in the order asked. `timeout` bounds each query of at
    /// most 500 keys, here and on the server.
    pub async fn query_features(
        &self,
        definitions: &Definitions,
        view: &View,
        keys: &[KeyText],
        scope: &Scope<'_>,
        timeout: Duration,
    ) -> Result<Vec<Vec<FeatureValue>>, ClickHouseError> {
        let rows = self.query_rows(definitions, view, keys, scope, timeout).await?;
        let value = |key: &KeyText| decode(view, scope.wanted, rows.get(key), scope.t);
        Ok(keys.iter().map(value).collect())
    }

    /// As [`ClickHouse::query_features`], but as rows by key. A key without entries has no row.
    pub async fn query_rows(
        &self,
        definitions: &Definitions,
        view: &View,
        keys: &[KeyText],
        scope: &Scope<'_>,
        timeout: Duration,
    ) -> Result<HashMap<KeyText, FeatureRow>, ClickHouseError> {
        let entity = &definitions.entities[view.entity];
        let mut rows = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_PER_QUERY) {
            let query = self
                .ask(&features(definitions, view, keys, scope), timeout)
                .with_setting("max_memory_usage", MAX_QUERY_BYTES.to_string());
            for answer in within(timeout, query.fetch_all::<Answer>()).await? {
                let key = decode_key(entity, answer.key_parts)
                    .map_err(|error| ClickHouseError::Unexpected(format!("a key of {}: {error}", entity.name)))?;
                rows.insert(key, FeatureRow { newest: answer.newest, features: answer.features });
            }
        }
        Ok(rows)
    }
}
