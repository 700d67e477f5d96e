//! ClickHouse as the repository sees it: a view's features, computed from its events.

use std::time::Duration;

use millrace_common::stores::clickhouse::{ClickHouse, ClickHouseError};
use millrace_core::assemble::Status;
use millrace_core::definitions::{Definitions, View};
use millrace_core::key::KeyText;
use millrace_core::sql::{FeatureRow, Scope, decode};

use super::merge::{Finished, Instant};
use super::on_demand::Compute;

/// The warehouse.
pub struct Warehouse {
    store: ClickHouse,
    timeout: Duration,
}

impl Warehouse {
    /// Connects when first used. A query has `timeout` to answer.
    pub fn new(url: &str, namespace: &str, timeout: Duration) -> Result<Self, ClickHouseError> {
        Ok(Self { store: ClickHouse::connect(url, namespace)?, timeout })
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), ClickHouseError> {
        self.store.ping().await
    }

    async fn rows(
        &self,
        definitions: &Definitions,
        view: &View,
        keys: &[KeyText],
        t: i64,
    ) -> Result<Vec<Option<FeatureRow>>, String> {
        let wanted: Vec<usize> = (0..view.features.len()).collect();
        let scope = Scope { wanted: &wanted, t, ..Scope::default() };
        let rows = self.store.query_rows(definitions, view, keys, &scope, self.timeout).await;
        let mut rows = rows.map_err(|error| error.to_string())?;
        Ok(keys.iter().map(|key| rows.remove(key)).collect())
    }
}

impl Compute for Warehouse {
    async fn compute(
        &self,
        definitions: &Definitions,
        view: usize,
        keys: &[KeyText],
        at: Instant,
    ) -> Result<Vec<Option<Finished>>, String> {
        let view = &definitions.views[view];
        let mut rows = self.rows(definitions, view, keys, at.of(None)).await?;
        // The log's clock may be a little ahead of ours: then "now" is the newest event, for those that it concerns.
        let newest = rows.iter().flatten().map(|row| row.newest).max();
        if at.of(newest) > at.of(None) {
            let ahead = |row: &Option<FeatureRow>| row.as_ref().is_some_and(|row| row.newest > at.of(None));
            let places: Vec<usize> = (0..rows.len()).filter(|place| ahead(&rows[*place])).collect();
            let again: Vec<KeyText> = places.iter().map(|place| keys[*place].clone()).collect();
            for (place, row) in places.into_iter().zip(self.rows(definitions, view, &again, at.of(newest)).await?) {
                rows[place] = row;
            }
        }
        Ok(rows.into_iter().map(|row| row.map(|row| finish(view, &row))).collect())
    }
}

/// The values of a row, before anybody asks how old they are.
fn finish(view: &View, row: &FeatureRow) -> Finished {
    let all: Vec<usize> = (0..view.features.len()).collect();
    let values = decode(view, &all, Some(row), row.newest).into_iter().map(|value| match value.status {
        Status::Present => Ok(Some(value.value)),
        Status::Error => Err(value.reason.unwrap_or_else(|| "the answer cannot be read".to_owned())),
        _ => Ok(None),
    });
    Finished { newest: Some(row.newest), values: values.collect() }
}
