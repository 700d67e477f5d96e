//! Connections to the log's Redis. Each begins with `fence`. A connection that is lost or silent is dropped, and the next
//! call makes another. (The driver's own connection manager would reconnect without the fence.)

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, RedisResult, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{LogError, failed};
use super::fast_path::RawConnection;
use super::functions;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reply may take. An fsync on a busy disk fits in, and a lease of 5 s is still noticed as lost.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// For this long after a failed attempt, callers fail at once instead of queueing for one attempt each.
pub(super) const HOLD_OFF: Duration = Duration::from_millis(100);

/// One connection that many callers share, replaced when it is lost.
pub(super) struct Link {
    client: Client,
    /// Key of the hash that `fence` is called on.
    log_key: String,
    current: Mutex<Current>,
}

/// The current connection, or how the last attempt to connect failed.
#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    number: u64,
    failed: Option<(Instant, RedisError)>,
}

impl Link {
    pub(super) fn new(client: Client, log_key: String) -> Self {
        Self { client, log_key, current: Mutex::default() }
    }

    /// Another link to the same Redis, with a connection of its own.
    pub(super) fn another(&self) -> Self {
        Self::new(self.client.clone(), self.log_key.clone())
    }

    /// A connection of the caller's own.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, LogError> {
        let mut connection = self.connect_unfenced().await.map_err(failed("connect to the log"))?;
        fence(&mut connection, &self.log_key).await.map_err(not_begun)?;
        Ok(connection)
    }

    /// A connection of the fast path. Returns None for an address that only the driver can reach.
    pub(super) async fn connect_raw(&self) -> Result<Option<RawConnection>, LogError> {
        RawConnection::connect(&self.client, &self.log_key, CONNECT_TIMEOUT).await.map_err(not_begun)
    }

    /// A connection to a Redis that may not have the log and the library yet.
    pub(super) async fn connect_unfenced(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// The shared connection and its number, for [`Link::forget`].
    pub(super) async fn get(&self) -> Result<(u64, MultiplexedConnection), LogError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((current.number, connection.clone()));
        }
        if let Some((when, source)) = current.failed.as_ref().filter(|(when, _)| when.elapsed() < HOLD_OFF) {
            tracing::trace!(since = ?when.elapsed(), "the log was unavailable a moment ago");
            return Err(LogError::Redis { doing: "connect to the log", source: source.clone() });
        }
        match self.connect().await {
            Ok(connection) => {
                *current = Current { connection: Some(connection.clone()), number: current.number + 1, failed: None };
                Ok((current.number, connection))
            }
            Err(error) => {
                if let LogError::Redis { source, .. } = &error {
                    current.failed = Some((Instant::now(), source.clone()));
                }
                Err(error)
            }
        }
    }

    /// Drops the shared connection of that number, unless another has replaced it.
    pub(super) async fn forget(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.number == number {
            current.connection = None;
        }
    }

    /// Sends a command on the shared connection.
    pub(super) async fn query(&self, doing: &'static str, command: &Cmd) -> Result<Value, LogError> {
        let (number, mut connection) = self.get().await?;
        let answer = command.query_async(&mut connection).await;
        if answer.as_ref().is_err_and(spoils) {
            self.forget(number).await;
        }
        answer.map_err(failed(doing))
    }

    /// Sends several commands in one round trip. The first error is the answer.
    pub(super) async fn query_all(
        &self,
        doing: &'static str,
        pipeline: &redis::Pipeline,
    ) -> Result<Vec<Value>, LogError> {
        let (number, mut connection) = self.get().await?;
        let answer = pipeline.query_async(&mut connection).await;
        if answer.as_ref().is_err_and(spoils) {
            self.forget(number).await;
        }
        answer.map_err(failed(doing))
    }
}

/// The error for a `fence` that failed.
fn not_begun(source: RedisError) -> LogError {
    if source.to_string().contains("Function not found") {
        return LogError::LibraryMissing { library: functions::LIBRARY, missing: functions::FENCE.to_owned() };
    }
    LogError::Redis { doing: "begin a connection to the log", source }
}

/// Whether the connection is useless after that error: it is lost, or was silent for too long.
pub(super) fn spoils(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// The first call on every connection to the log. For a store that lost its tail (DESIGN §2) the function will compare the
/// replication id and lift the last ids before anything is appended or read.
async fn fence(connection: &mut MultiplexedConnection, log_key: &str) -> RedisResult<()> {
    functions::call(functions::FENCE, &[log_key]).exec_async(connection).await
}
