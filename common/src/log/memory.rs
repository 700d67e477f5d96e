//! The memory of the log's Redis. It must never evict. Well below its limit the log stops taking events, so that
//! consumers keep room to drain it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

use super::error::{LogError, failed, unexpected};
use super::link::Link;
use super::value;

const DOING: &str = "read the log's memory";
/// How often memory is looked at: at 100 MB/s of appends, 25 MB pass unlast.
const EVERY: Duration = Duration::from_millis(250);

/// Memory of the log's Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes in use.
    pub used: u64,
    /// `maxmemory` in bytes; 0: no limit.
    pub limit: u64,
}

impl Pressure {
    /// The used part of the limit; 0 without a limit.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people and a threshold")]
    pub fn ratio(self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

/// Refuses a Redis that may evict entries.
pub(super) async fn check_policy(connection: &mut MultiplexedConnection) -> Result<(), LogError> {
    let info: String = info_command().query_async(connection).await.map_err(failed(DOING))?;
    match field(&info, "maxmemory_policy") {
        Some("noeviction") => Ok(()),
        Some(other) => Err(LogError::Evicts(other.to_owned())),
        None => Err(unexpected(DOING, &info)),
    }
}

/// Reads the memory at intervals, as long as it is alive.
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
    /// Reads the memory once, then starts the task that goes on reading it.
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
                    // While Redis is unavailable nothing is appended either, so the last reading stays.
                    if let Ok(pressure) = read(&link).await {
                        last.set(pressure);
                    }
                }
            }
        });
        Ok(Self { last, task })
    }

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

/// `INFO` rather than `CONFIG`, which hosted Redis often forbids.
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
