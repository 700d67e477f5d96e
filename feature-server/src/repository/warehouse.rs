//! ClickHouse as the repository sees it: a view's features, computed from its events.

use std::time::Duration;

use millrace_common::stores::clickhouse::{ClickHouse, ClickHouseError};
use millrace_core::assemble::Status;
use millrace_core::definitions::View;
use millrace_core::key::KeyText;
use millrace_core::sql::{FeatureRow, Scope, decode};

use super::cached::{Ask, FoundFinished, Source};
use super::merge::Finished;

/// The warehouse.
pub struct Warehouse {
    store: ClickHouse,
    timeout: Duration,
}

impl Warehouse {
    /// Connects when first used. A read has `timeout` to answer.
    pub fn new(url: &str, namespace: &str, timeout: Duration) -> Result<Self, ClickHouseError> {
        Ok(Self { store: ClickHouse::connect(url, namespace)?, timeout })
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), ClickHouseError> {
        self.store.ping().await
    }

    /// All rows at an instant, of the wanted features alone: nothing else is computed.
    async fn rows(&self, ask: &Ask, keys: &[KeyText], t: i64) -> Result<Vec<Option<FeatureRow>>, String> {
        let scope = Scope { wanted: &ask.features, t, ..Scope::default() };
        let rows = self.store.query_rows(&ask.definitions, ask.view(), keys, &scope, self.timeout).await;
        let mut rows = rows.map_err(|error| error.to_string())?;
        Ok(keys.iter().map(|key| rows.remove(key)).collect())
    }

    async fn compute(&self, ask: &Ask, keys: &[KeyText]) -> Result<Vec<Option<Finished>>, String> {
        let at = ask.at;
        let mut rows = self.rows(ask, keys, at.of(None)).await?;
        // The log's clock may be a little ahead of ours: then "now" is the newest event, for those that it concerns.
        let newest = rows.iter().flatten().map(|row| row.newest).max();
        if at.of(newest) > at.of(None) {
            let ahead = |row: &Option<FeatureRow>| row.as_ref().is_some_and(|row| row.newest > at.of(None));
            let places: Vec<usize> = (0..rows.len()).filter(|place| ahead(&rows[*place])).collect();
            let again: Vec<KeyText> = places.iter().map(|place| keys[*place].clone()).collect();
            for (place, row) in places.into_iter().zip(self.rows(ask, &again, at.of(newest)).await?) {
                rows[place] = row;
            }
        }
        Ok(rows.into_iter().map(|row| row.map(|row| finish(ask.view(), &ask.features, &row))).collect())
    }
}

impl Source for Warehouse {
    async fn read(&self, ask: &Ask, keys: &[KeyText]) -> Result<Vec<FoundFinished>, String> {
        let answer = tokio::time::timeout(self.timeout, self.compute(ask, keys)).await;
        let rows = answer.unwrap_or_else(|_| Err(format!("the query took longer than {:?}", self.timeout)))?;
        Ok(rows.into_iter().map(Ok).collect())
    }
}

/// The values of a row, before anybody asks how old they are.
fn finish(view: &View, features: &[usize], row: &FeatureRow) -> Finished {
    let values = decode(view, features, Some(row), row.newest).into_iter().map(|value| match value.status {
        Status::Present => Ok(Some(value.value)),
        Status::Error => Err(value.reason.unwrap_or_else(|| "the answer cannot be read".to_owned())),
        _ => Ok(None),
    });
    Finished { newest: Some(row.newest), run: None, values: values.collect() }
}
