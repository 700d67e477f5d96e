//! Reads how full the memory of the log's Redis is, and refuses a Redis that may evict entries. The response
//! to a full memory is left to others: the appender refuses events well below the limit, so that consumers have room to
//! drain the log, and the worker keeps fewer old entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

use super::error::{LogError, failed, unexpected};
use super::link::Link;
use super::value;

const DOING: &str = "read the log's memory";
/// How often the gauge reads the memory. At 100 MB/s of appends, 25 MB arrive between two readings.
const EVERY: Duration = Duration::from_millis(250);

/// How full the memory of the log's Redis is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes in use.
    pub used: u64,
    /// `maxmemory` in bytes; 0: no limit.
    pub limit: u64,
}

impl Pressure {
    /// The part of the limit that is in use: 1 is full; 0 without a limit.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people and a threshold")]
    pub fn ratio(self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

/// Returns [`LogError::Evicts`] unless the Redis has the policy `noeviction`, because an evicted entry would be lost.
pub(super) async fn check_policy(connection: &mut MultiplexedConnection) -> Result<(), LogError> {
    let info: String = info_command().query_async(connection).await.map_err(failed(DOING))?;
    match field(&info, "maxmemory_policy") {
        Some("noeviction") => Ok(()),
        Some(other) => Err(LogError::Evicts(other.to_owned())),
        None => Err(unexpected(DOING, &info)),
    }
}

/// A task that reads the memory at intervals until the gauge is dropped.
pub(super) struct MemoryGauge {
    last: Arc<LastReading>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct LastReading {
    used: AtomicU64,
    limit: AtomicU64,
}

impl LastReading {
    fn set(&self, pressure: Pressure) {
        self.used.store(pressure.used, Ordering::Relaxed);
        self.limit.store(pressure.limit, Ordering::Relaxed);
    }

    fn get(&self) -> Pressure {
        Pressure { used: self.used.load(Ordering::Relaxed), limit: self.limit.load(Ordering::Relaxed) }
    }
}

impl MemoryGauge {
    /// Reads the memory once, then starts the task.
    pub(super) async fn start(link: Link) -> Result<Self, LogError> {
        let last = Arc::<LastReading>::default();
        last.set(read(&link).await?);
        let task = tokio::spawn({
            let last = last.clone();
            async move {
                let mut every = tokio::time::interval(EVERY);
                every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    every.tick().await;
                    // While Redis is unavailable nothing is appended, so the last reading is kept.
                    if let Ok(pressure) = read(&link).await {
                        last.set(pressure);
                    }
                }
            }
        });
        Ok(Self { last, task })
    }

    /// The last reading.
    pub(super) fn pressure(&self) -> Pressure {
        self.last.get()
    }
}

impl Drop for MemoryGauge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads the memory, once.
pub(super) async fn read(link: &Link) -> Result<Pressure, LogError> {
    let reply = link.query(DOING, &info_command()).await?;
    let info = value::text(reply).unwrap_or_default();
    let number = |name| field(&info, name).and_then(|text| text.parse::<u64>().ok());
    let (Some(used), Some(limit)) = (number("used_memory"), number("maxmemory")) else {
        return Err(unexpected(DOING, &info));
    };
    Ok(Pressure { used, limit })
}

/// `INFO memory`, because hosted Redis often forbids `CONFIG`.
fn info_command() -> redis::Cmd {
    let mut command = redis::cmd("INFO");
    command.arg("memory");
    command
}

fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Memory\r\nused_memory_rss:9\r\nused_memory:7\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";
        assert_eq!(field(info, "used_memory"), Some("7"));
        assert_eq!(field(info, "maxmemory_policy"), Some("noeviction"));
        assert_eq!(field(info, "nothing"), None);
        assert_eq!(Pressure { used: 85, limit: 100 }.ratio(), 0.85);
        assert_eq!(Pressure { used: 85, limit: 0 }.ratio(), 0.0);
    }
}
