//! ClickHouse as the repository reads it. When a request asks for features of a view, ClickHouse computes them from the
//! events. The SQL is left to `core`, and the status of each value to `values`.

use std::time::Duration;

use millrace_common::stores::clickhouse::{ClickHouse, ClickHouseError};
use millrace_core::assemble::Status;
use millrace_core::definitions::View;
use millrace_core::finished::{Finished, Found};
use millrace_core::key::KeyText;
use millrace_core::sql::{FeatureRow, Scope, decode};

use super::cached::{ViewQuery, ViewSource};

/// The events in ClickHouse. A read has a time limit, which covers all its queries.
pub struct ClickHouseSource {
    store: ClickHouse,
    timeout: Duration,
}

impl ClickHouseSource {
    /// Does not connect before the first read. A read may take `timeout`.
    pub fn new(url: &str, namespace: &str, timeout: Duration) -> Result<Self, ClickHouseError> {
        Ok(Self { store: ClickHouse::connect(url, namespace)?, timeout })
    }

    /// Fails if ClickHouse does not answer.
    pub async fn ping(&self) -> Result<(), ClickHouseError> {
        self.store.ping().await
    }

    /// Computes the wanted features at the instant `t`, in epoch ms. One row for each key, None if the key has no
    /// events.
    async fn rows(&self, query: &ViewQuery, keys: &[KeyText], t: i64) -> Result<Vec<Option<FeatureRow>>, String> {
        let scope = Scope { wanted: &query.features, t, ..Scope::default() };
        let rows = self.store.query_rows(&query.definitions, query.view(), keys, &scope, self.timeout).await;
        let mut rows = rows.map_err(|error| error.to_string())?;
        Ok(keys.iter().map(|key| rows.remove(key)).collect())
    }

    /// Computes the wanted features of each key, at the instant that the query names.
    async fn compute(&self, query: &ViewQuery, keys: &[KeyText]) -> Result<Vec<Found<Finished>>, String> {
        let at = query.at;
        let mut rows = self.rows(query, keys, at.at(None)).await?;
        // Redis stamps the events, and its clock may be a little ahead of this one. The values of a key are not defined
        // before its newest event. So keys with an event later than now are read again, at the newest event of
        // all keys.
        let newest = rows.iter().flatten().map(|row| row.newest).max();
        if at.at(newest) > at.at(None) {
            let is_ahead = |row: &Option<FeatureRow>| row.as_ref().is_some_and(|row| row.newest > at.at(None));
            let places: Vec<usize> = (0..rows.len()).filter(|place| is_ahead(&rows[*place])).collect();
            let again: Vec<KeyText> = places.iter().map(|place| keys[*place].clone()).collect();
            for (place, row) in places.into_iter().zip(self.rows(query, &again, at.at(newest)).await?) {
                rows[place] = row;
            }
        }
        let found = |row: Option<FeatureRow>| match row {
            Some(row) => Found::Known(finish(query.view(), &query.features, &row)),
            None => Found::Unknown,
        };
        Ok(rows.into_iter().map(found).collect())
    }
}

impl ViewSource for ClickHouseSource {
    async fn read(&self, query: &ViewQuery, keys: &[KeyText]) -> Result<Vec<Found<Finished>>, String> {
        let answer = tokio::time::timeout(self.timeout, self.compute(query, keys)).await;
        answer.unwrap_or_else(|_| Err(format!("the query took longer than {:?}", self.timeout)))
    }
}

/// The values of a row. They are decoded as of the newest event, so none is too old here: `values` judges their age
/// each time they are served.
fn finish(view: &View, features: &[usize], row: &FeatureRow) -> Finished {
    let values = decode(view, features, Some(row), row.newest).into_iter().map(|value| match value.status {
        Status::Present => Ok(Some(value.value)),
        Status::Error => Err(value.reason.unwrap_or_else(|| "the answer cannot be read".to_owned())),
        Status::NullValue | Status::NotFound | Status::OutsideMaxAge => Ok(None),
    });
    Finished { newest: Some(row.newest), run: None, values: values.collect() }
}
