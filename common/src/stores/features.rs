//! Feature state in Redis: one hash per entity key, one field per slot. Reads ask for exact fields in one round
//! trip; writes are monotonic puts by the functions `put` and `put_each` of the library in `migrations/redis`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::pieces::pieces;
use crate::log::{NOT_NOW, functions};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};

/// Keys per pipeline of puts: bounds what one reply holds up.
const PUTS_PER_PIPELINE: usize = 1_000;
/// Bytes per pipeline of puts, unless one key has more: bounds what one timeout covers.
const BYTES_PER_PIPELINE: usize = 16 * 1024 * 1024;

/// Keys per call that writes one field of many: Redis answers nobody else meanwhile, for about a quarter of a millisecond.
/// More of them would save it nothing that can be measured.
const KEYS_PER_CALL: usize = 64;
/// Bytes per such call, unless one key has more.
const BYTES_PER_CALL: usize = 64 * 1024;

/// The feature state.
#[derive(Clone)]
pub struct FeatureStore {
    connections: Vec<ConnectionManager>,
    next: std::sync::Arc<AtomicUsize>,
}

/// Why the feature state did not answer.
#[derive(Debug, thiserror::Error)]
pub enum FeatureStoreError {
    /// Not reached, or not in time.
    #[error("failed to reach the feature state: {0}")]
    Away(#[source] RedisError),
    /// It answered something that no version of ours answers.
    #[error("unexpected answer of the feature state: {0}")]
    Unexpected(String),
}

impl FeatureStoreError {
    /// Whether the server said no to a call itself, and would say so again: not away, late, loading or full.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Away(error) => {
                let errors = error.clone().into_server_errors();
                errors.is_some_and(|errors| errors.iter().any(|(_, error)| !NOT_NOW.contains(&error.code())))
            }
            Self::Unexpected(_) => true,
        }
    }
}

/// The slots of one entity key that are to be written.
#[derive(Clone, Debug)]
pub struct Put {
    /// The hash.
    pub key: String,
    /// When the whole hash may go, in ms from now; none: never.
    pub expire_ms: Option<u64>,
    /// (field, encoded slot).
    pub slots: Vec<(String, Vec<u8>)>,
}

impl Put {
    fn bytes(&self) -> usize {
        self.slots.iter().map(|(_, value)| value.len()).sum()
    }

    /// Whether both write the same one field and nothing else.
    fn is_alike(&self, other: &Self) -> bool {
        match (self.slots.as_slice(), other.slots.as_slice()) {
            ([(field, _)], [(other_field, _)]) => field == other_field && self.expire_ms == other.expire_ms,
            _ => false,
        }
    }
}

/// What became of one slot of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// Stored.
    Written,
    /// Stored before, by an earlier attempt or another owner: the state is a function of the log.
    Already,
    /// A newer state is stored; the writer must reload.
    Stale,
    /// What is stored is no slot of ours; it stays.
    Undecodable,
    /// The key holds no hash at all; it stays.
    WrongType,
}

/// The code with which Redis refuses a call because of what the key holds.
const WRONG_TYPE: &str = "WRONGTYPE";
/// What `put_each`, which goes on after such a key, answers for it.
const NO_HASH: i64 = -3;

/// The fields of one hash, or what is wrong with its key.
pub type FoundFields = Result<Vec<Option<Vec<u8>>>, WrongType>;

/// A key that is no hash: somebody else's, or broken. Of that key alone, so no reason to wait for the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key `{key}` holds no hash: {said}")]
pub struct WrongType {
    /// The key.
    pub key: String,
    /// Redis's word.
    pub said: String,
}

impl FeatureStore {
    /// Connects `connections` times; each call has `timeout` to answer.
    pub async fn connect(url: &str, connections: usize, timeout: Duration) -> Result<Self, FeatureStoreError> {
        let client = crate::log::client(url).map_err(FeatureStoreError::Away)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(timeout))
            .set_max_delay(Duration::from_secs(1));
        let mut pool = Vec::with_capacity(connections.max(1));
        for _ in 0..connections.max(1) {
            let connection = ConnectionManager::new_with_config(client.clone(), config.clone());
            pool.push(connection.await.map_err(FeatureStoreError::Away)?);
        }
        Ok(Self { connections: pool, next: std::sync::Arc::default() })
    }

    /// Reads exact fields of many hashes in one round trip; answers stand in the order asked. A key that is no hash is told
    /// by itself and costs no other.
    pub async fn read(&self, reads: &[(String, impl AsRef<[String]>)]) -> Result<Vec<FoundFields>, FeatureStoreError> {
        if reads.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = read_commands(reads);
        let replies: Vec<RedisResult<_>> =
            self.query(pipeline.ignore_errors()).await.map_err(FeatureStoreError::Away)?;
        let found = replies.into_iter().zip(reads).map(|(reply, (key, _))| match reply {
            Ok(fields) => Ok(Ok(fields)),
            Err(error) if error.code() == Some(WRONG_TYPE) => {
                Ok(Err(WrongType { key: key.clone(), said: error.to_string() }))
            }
            Err(error) => Err(FeatureStoreError::Away(error)),
        });
        found.collect()
    }

    /// Writes slots monotonically, pipelined. Outcomes stand in the order of puts and their slots.
    pub async fn put(&self, puts: &[Put]) -> Result<Vec<Vec<PutOutcome>>, FeatureStoreError> {
        let mut outcomes = Vec::with_capacity(puts.len());
        for piece in pieces(puts, PUTS_PER_PIPELINE, BYTES_PER_PIPELINE, Put::bytes) {
            let mut pipeline = Pipeline::new();
            for call in calls(piece) {
                pipeline.add_command(put_command(call));
            }
            let replies: Vec<RedisResult<Vec<i64>>> =
                self.query(pipeline.ignore_errors()).await.map_err(FeatureStoreError::Away)?;
            for (reply, call) in replies.into_iter().zip(calls(piece)) {
                decode_outcomes(reply, call, &mut outcomes)?;
            }
        }
        Ok(outcomes)
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), FeatureStoreError> {
        redis::cmd("PING").query_async(&mut self.connection()).await.map_err(FeatureStoreError::Away)
    }

    /// Sends a pipeline; again where the connection was gone. A connection that Redis closed, by a restart say, shows it
    /// only when it is used, and both reads and monotonic puts can be sent twice.
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

/// What one call each writes: neighbours that write the same one field go together, any other put by itself. This alone
/// decides which keys share a call; in a cluster, which our client does not speak, they would have to share a hash slot.
fn calls(puts: &[Put]) -> impl Iterator<Item = &[Put]> {
    let alike = puts.chunk_by(Put::is_alike);
    alike.flat_map(|puts| pieces(puts, KEYS_PER_CALL, BYTES_PER_CALL, Put::bytes))
}

fn put_command(call: &[Put]) -> Cmd {
    let keys: Vec<&str> = call.iter().map(|put| put.key.as_str()).collect();
    let expire_ms = call.first().and_then(|put| put.expire_ms).unwrap_or(0);
    let mut slots = call.iter().flat_map(|put| &put.slots).peekable();
    if let [put] = call {
        let mut command = functions::call(functions::PUT, &keys);
        command.arg(expire_ms).arg(put.slots.len());
        slots.for_each(|(field, value)| {
            command.arg(field).arg(value);
        });
        return command;
    }
    let mut command = functions::call(functions::PUT_EACH, &keys);
    command.arg(expire_ms).arg(slots.peek().map(|(field, _)| field));
    slots.for_each(|(_, value)| {
        command.arg(value);
    });
    command
}

fn decode_outcomes(
    reply: RedisResult<Vec<i64>>,
    call: &[Put],
    outcomes: &mut Vec<Vec<PutOutcome>>,
) -> Result<(), FeatureStoreError> {
    let slots = call.iter().map(|put| put.slots.len()).sum();
    let codes = match reply {
        Err(error) if error.code() == Some(WRONG_TYPE) && call.len() == 1 => vec![NO_HASH; slots],
        reply => reply.map_err(FeatureStoreError::Away)?,
    };
    if codes.len() != slots {
        return Err(FeatureStoreError::Unexpected(format!("{} outcomes for {slots} slots", codes.len())));
    }
    let mut decoded = codes.into_iter().map(decode_outcome);
    for put in call {
        outcomes.push(decoded.by_ref().take(put.slots.len()).collect::<Result<_, _>>()?);
    }
    Ok(())
}

fn decode_outcome(code: i64) -> Result<PutOutcome, FeatureStoreError> {
    match code {
        1 => Ok(PutOutcome::Written),
        0 => Ok(PutOutcome::Already),
        -1 => Ok(PutOutcome::Stale),
        -2 => Ok(PutOutcome::Undecodable),
        NO_HASH => Ok(PutOutcome::WrongType),
        other => Err(FeatureStoreError::Unexpected(format!("outcome {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: usize, expire_ms: Option<u64>, fields: &[&str], bytes: usize) -> Put {
        let slots = fields.iter().map(|field| ((*field).to_owned(), vec![0; bytes])).collect();
        Put { key: key.to_string(), expire_ms, slots }
    }

    #[test]
    fn only_neighbours_that_write_the_same_one_field_share_a_call() {
        let puts = [
            put(0, None, &["a"], 1),
            put(1, None, &["a"], 1),
            put(2, None, &["b"], 1),
            put(3, Some(5), &["b"], 1),
            put(4, Some(5), &["b", "c"], 1),
            put(5, Some(5), &["b", "c"], 1),
            put(6, Some(5), &["b"], 1),
            put(7, Some(5), &["b"], 1),
        ];
        let shared: Vec<Vec<&str>> =
            calls(&puts).map(|call| call.iter().map(|put| put.key.as_str()).collect()).collect();
        assert_eq!(shared, [vec!["0", "1"], vec!["2"], vec!["3"], vec!["4"], vec!["5"], vec!["6", "7"]]);
    }

    #[test]
    fn a_call_is_short() {
        let sizes = |puts: &[Put]| -> Vec<usize> { calls(puts).map(<[Put]>::len).collect() };
        let small: Vec<Put> = (0..KEYS_PER_CALL * 2 + 1).map(|key| put(key, None, &["a"], 1)).collect();
        assert_eq!(sizes(&small), [KEYS_PER_CALL, KEYS_PER_CALL, 1]);
        let large: Vec<Put> = (0..5).map(|key| put(key, None, &["a"], BYTES_PER_CALL / 2)).collect();
        assert_eq!(sizes(&large), [2, 2, 1]);
        assert!(sizes(&[]).is_empty());
    }
}
