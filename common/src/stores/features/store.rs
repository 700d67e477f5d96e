//! The connections to the feature state: pipelined reads and puts over a few shared connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, Pipeline, RedisResult};

use super::error::FeatureStoreError;
use super::put::{Put, PutOutcome, WRONG_TYPE, calls, decode_outcomes, put_command};
use crate::stores::pieces::pieces;

/// The most keys of a pipeline of puts: it bounds the length of a reply.
const PUTS_PER_PIPELINE: usize = 1_000;
/// The most bytes of a pipeline of puts, unless one key has more: it bounds what one timeout covers.
const BYTES_PER_PIPELINE: usize = 16 * 1024 * 1024;

/// The feature state.
#[derive(Clone)]
pub struct FeatureStore {
    connections: Vec<ConnectionManager>,
    next: std::sync::Arc<AtomicUsize>,
}

/// The fields of one hash, or why its key cannot be read.
pub type FoundFields = Result<Vec<Option<Vec<u8>>>, WrongType>;

/// A key that does not hold a hash. Only that key fails: the store is available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key `{key}` holds no hash: {said}")]
pub struct WrongType {
    /// The key.
    pub key: String,
    /// Redis's message.
    pub said: String,
}

impl FeatureStore {
    /// Opens `connections` connections. Each call has `timeout` to answer.
    pub async fn connect(url: &str, connections: usize, timeout: Duration) -> Result<Self, FeatureStoreError> {
        let client = crate::log::client(url).map_err(FeatureStoreError::Unavailable)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(timeout))
            .set_max_delay(Duration::from_secs(1));
        let mut pool = Vec::with_capacity(connections.max(1));
        for _ in 0..connections.max(1) {
            let connection = ConnectionManager::new_with_config(client.clone(), config.clone());
            pool.push(connection.await.map_err(FeatureStoreError::Unavailable)?);
        }
        Ok(Self { connections: pool, next: std::sync::Arc::default() })
    }

    /// Reads exact fields of many hashes in one round trip, in the order asked. A key that does not hold a hash is an error
    /// for that key only.
    pub async fn read(&self, reads: &[(String, impl AsRef<[String]>)]) -> Result<Vec<FoundFields>, FeatureStoreError> {
        if reads.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = read_commands(reads);
        let replies: Vec<RedisResult<_>> =
            self.query(pipeline.ignore_errors()).await.map_err(FeatureStoreError::Unavailable)?;
        let found = replies.into_iter().zip(reads).map(|(reply, (key, _))| match reply {
            Ok(fields) => Ok(Ok(fields)),
            Err(error) if error.code() == Some(WRONG_TYPE) => {
                Ok(Err(WrongType { key: key.clone(), said: error.to_string() }))
            }
            Err(error) => Err(FeatureStoreError::Unavailable(error)),
        });
        found.collect()
    }

    /// Writes slots monotonically, pipelined. Outcomes are in the order of the puts and their slots.
    pub async fn put(&self, puts: &[Put]) -> Result<Vec<Vec<PutOutcome>>, FeatureStoreError> {
        let mut outcomes = Vec::with_capacity(puts.len());
        for piece in pieces(puts, PUTS_PER_PIPELINE, BYTES_PER_PIPELINE, Put::bytes) {
            let mut pipeline = Pipeline::new();
            for call in calls(piece) {
                pipeline.add_command(put_command(call));
            }
            let replies: Vec<RedisResult<Vec<i64>>> =
                self.query(pipeline.ignore_errors()).await.map_err(FeatureStoreError::Unavailable)?;
            for (reply, call) in replies.into_iter().zip(calls(piece)) {
                decode_outcomes(reply, call, &mut outcomes)?;
            }
        }
        Ok(outcomes)
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), FeatureStoreError> {
        redis::cmd("PING").query_async(&mut self.connection()).await.map_err(FeatureStoreError::Unavailable)
    }

    /// Sends a pipeline, and sends it again if the connection was dropped: a connection that Redis closed, by a restart for
    /// example, fails only when it is used. Reads and monotonic puts can be sent twice.
    async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> RedisResult<T> {
        let mut connection = self.connection();
        match pipeline.query_async(&mut connection).await {
            Err(error) if error.is_connection_dropped() => pipeline.query_async(&mut connection).await,
            answer => answer,
        }
    }

    fn connection(&self) -> ConnectionManager {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[next % self.connections.len()].clone()
    }
}

fn read_commands(reads: &[(String, impl AsRef<[String]>)]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(reads.len());
    for (key, fields) in reads {
        pipeline.add_command(redis::cmd("HMGET").arg(key).arg(fields.as_ref()).take());
    }
    pipeline
}
