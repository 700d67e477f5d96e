//! Connections to the log's Redis. Each begins with `fence`; one that is lost or silent is dropped, and the next call
//! makes another. The driver's own connection manager would reconnect without the fence.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, RedisError, RedisResult, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{LogError, failed};
use super::functions;
use super::wire::Wire;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take: an fsync on a busy disk fits in, a lease of 5 s would still be noticed as lost.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// After a failed attempt, callers fail at once for so long instead of queueing for one attempt each.
pub(super) const HOLD_OFF: Duration = Duration::from_millis(100);

/// A client for that URL, with small packets sent at once: the driver leaves Nagle's algorithm on.
pub fn client(url: &str) -> RedisResult<Client> {
    let tcp = TcpSettings::default().set_nodelay(true);
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp))
}

/// One connection that many callers share, replaced when it is lost.
pub(super) struct Link {
    client: Client,
    /// Key of the hash that `fence` is called on.
    log_key: String,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<MultiplexedConnection>,
    number: u64,
    failed: Option<(Instant, RedisError)>,
}

impl Link {
    pub(super) fn new(client: Client, log_key: String) -> Self {
        Self { client, log_key, slot: Mutex::default() }
    }

    /// Another link to the same place, with a connection of its own.
    pub(super) fn another(&self) -> Self {
        Self::new(self.client.clone(), self.log_key.clone())
    }

    /// A connection of the caller's own.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, LogError> {
        let mut connection = self.connect_unfenced().await.map_err(failed("connect to the log"))?;
        fence(&mut connection, &self.log_key).await.map_err(not_begun)?;
        Ok(connection)
    }

    /// A connection for reading entries. None: only the driver can reach that address.
    pub(super) async fn connect_wire(&self) -> Result<Option<Wire>, LogError> {
        Wire::connect(&self.client, &self.log_key, CONNECT_TIMEOUT).await.map_err(not_begun)
    }

    /// For looking at a Redis that may hold no log and no library yet.
    pub(super) async fn connect_unfenced(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// The shared connection and its number, for [`Link::forget`].
    pub(super) async fn get(&self) -> Result<(u64, MultiplexedConnection), LogError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.number, connection.clone()));
        }
        if let Some((when, source)) = slot.failed.as_ref().filter(|(when, _)| when.elapsed() < HOLD_OFF) {
            tracing::trace!(since = ?when.elapsed(), "the log was away a moment ago");
            return Err(LogError::Redis { doing: "connect to the log", source: source.clone() });
        }
        match self.connect().await {
            Ok(connection) => {
                *slot = Slot { connection: Some(connection.clone()), number: slot.number + 1, failed: None };
                Ok((slot.number, connection))
            }
            Err(error) => {
                if let LogError::Redis { source, .. } = &error {
                    slot.failed = Some((Instant::now(), source.clone()));
                }
                Err(error)
            }
        }
    }

    /// Drops the shared connection if it is still that one.
    pub(super) async fn forget(&self, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot.number == number {
            slot.connection = None;
        }
    }

    /// Asks on the shared connection.
    pub(super) async fn query(&self, doing: &'static str, command: &Cmd) -> Result<Value, LogError> {
        let (number, mut connection) = self.get().await?;
        let answer = command.query_async(&mut connection).await;
        if answer.as_ref().is_err_and(spoils) {
            self.forget(number).await;
        }
        answer.map_err(failed(doing))
    }

    /// Asks several things in one round trip; the first error is the answer.
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

/// What a failed `fence` means.
fn not_begun(source: RedisError) -> LogError {
    if source.to_string().contains("Function not found") {
        return LogError::LibraryMissing { library: functions::LIBRARY, missing: functions::FENCE.to_owned() };
    }
    LogError::Redis { doing: "begin a connection to the log", source }
}

/// Whether the connection is no good after that: lost, or silent for too long.
pub(super) fn spoils(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// The first call on every connection to the log, and the place for what DESIGN §2 says of a store that lost its
/// tail: the function will compare the replication id and lift last ids before anything is appended or read.
async fn fence(connection: &mut MultiplexedConnection, log_key: &str) -> RedisResult<()> {
    functions::call(functions::FENCE, &[log_key]).exec_async(connection).await
}
