//! Reading one partition: plain `XREAD` from a position, on a connection of its own, because a blocking call holds up
//! every other call on its connection. Reading changes nothing in Redis. The meaning of an entry is left to
//! `millrace_core::entry`.

use std::time::Duration;

use millrace_core::partition::Partition;
use millrace_core::position::Position;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};

use super::Log;
use super::entry::{RawEntry, entries_of_driver};
use super::error::{LogError, failed, unexpected};
use super::fast_path::{RawConnection, entries_of};
use super::link::spoils;

/// Added to the time that a blocking read asked for before the connection counts as dead: Redis may overrun `BLOCK`.
const MARGIN: Duration = Duration::from_secs(5);

/// Reads one partition.
pub struct Reader {
    log: Log,
    key: String,
    /// Taken out during a call. A call that is dropped takes its connection with it, and the next one makes another, so
    /// that no reply is ever taken for that of a later call.
    connection: Option<ReaderConnection>,
}

enum ReaderConnection {
    Raw(RawConnection),
    Driver(MultiplexedConnection),
}

impl Reader {
    /// Connects.
    pub async fn open(log: &Log, partition: Partition) -> Result<Self, LogError> {
        let connection = Some(ReaderConnection::open(log).await?);
        Ok(Self { log: log.clone(), key: log.names().events(partition), connection })
    }

    /// At most `count` entries after `after`, in order. Waits up to `block` for the first; returns an empty list where
    /// none comes. Safe to drop while it waits.
    pub async fn read(&mut self, after: Position, count: usize, block: Duration) -> Result<Vec<RawEntry>, LogError> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(count);
        // In Redis, `BLOCK 0` waits for ever.
        if block >= Duration::from_millis(1) {
            command.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(u64::MAX));
        }
        command.arg("STREAMS").arg(&self.key).arg(after.to_string());
        self.entries("read the log", &command, block + MARGIN).await
    }

    /// At most `count` entries up to and including `before`, newest first.
    pub async fn range_back(&mut self, before: Position, count: usize) -> Result<Vec<RawEntry>, LogError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg(before.to_string()).arg("-").arg("COUNT").arg(count);
        self.entries("read the log backwards", &command, MARGIN).await
    }

    /// The oldest entry that has not been trimmed.
    pub async fn first_position(&mut self) -> Result<Option<Position>, LogError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.key).arg("-").arg("+").arg("COUNT").arg(1);
        Ok(self.entries("find the oldest entry", &command, MARGIN).await?.first().map(|entry| entry.position))
    }

    /// The newest entry.
    pub async fn last_position(&mut self) -> Result<Option<Position>, LogError> {
        let newest = self.range_back(Position::new(u64::MAX, u64::MAX), 1).await?;
        Ok(newest.first().map(|entry| entry.position))
    }

    async fn entries(
        &mut self,
        doing: &'static str,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<Vec<RawEntry>, LogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => ReaderConnection::open(&self.log).await?,
        };
        let entries = connection.entries(command, timeout).await;
        if !entries.as_ref().is_err_and(spoils) {
            self.connection = Some(connection);
        }
        entries.map_err(failed(doing))?.ok_or_else(|| unexpected(doing, &"no list of entries"))
    }
}

impl ReaderConnection {
    async fn open(log: &Log) -> Result<Self, LogError> {
        match log.link_ref().connect_raw().await? {
            Some(connection) => Ok(Self::Raw(connection)),
            None => log.connect().await.map(Self::Driver),
        }
    }

    /// The entries in the reply to the command, which names one stream. Returns None for a reply of another shape.
    async fn entries(&mut self, command: &Cmd, timeout: Duration) -> RedisResult<Option<Vec<RawEntry>>> {
        match self {
            Self::Raw(connection) => connection.call(command, timeout).await.map(|reply| entries_of(&reply)),
            Self::Driver(connection) => {
                connection.set_response_timeout(timeout);
                let reply: Value = command.query_async(connection).await?;
                Ok(entries_of_driver(reply))
            }
        }
    }
}
