//! The stores that are measured: a stack of the bench's own in a temporary folder, and ways to look at it from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use millrace_devstack::{Stack, StackOptions};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::cpu::Processes;

/// How long Redis may take to rewrite its file, or to answer a command about a full log.
const LONG: Duration = Duration::from_secs(600);
/// The pause between two looks at Redis's rewrite.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The stores.
pub struct BenchStores {
    /// They die with this value.
    pub stack: Stack,
    dir: TempDir,
}

impl BenchStores {
    /// Starts the stores. URLs in the environment are not used: nothing else may share the stores that are measured.
    pub async fn up() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("millrace-bench-").tempdir()?;
        let stack = Stack::up(StackOptions::new(dir.path().join("stores"))).await?;
        let stores = Self { stack, dir };
        // A rewrite forks, and would slow down the one round or the other. `settle` does it between rounds.
        let set: redis::RedisResult<()> = redis::cmd("CONFIG")
            .arg(&["SET", "auto-aof-rewrite-percentage", "0"])
            .query_async(&mut stores.redis().await?)
            .await;
        set?;
        Ok(stores)
    }

    /// Stops them in good order.
    pub async fn down(self) -> anyhow::Result<()> {
        Ok(self.stack.down().await?)
    }

    /// The folder of the bench's files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A connection to Redis, to look from outside.
    pub async fn redis(&self) -> anyhow::Result<MultiplexedConnection> {
        let client = redis::Client::open(self.stack.redis_url())?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(LONG));
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    /// Where Redis listens.
    pub fn redis_address(&self) -> anyhow::Result<SocketAddr> {
        address(self.stack.redis_url())
    }

    /// This process, a service and the stores, for their CPU time.
    pub fn processes(&self, service: Option<u32>) -> Processes {
        let stack = &self.stack;
        let processes = Processes::with_load().and("service", service).and("redis", stack.redis().pid().ok());
        processes.and("mongodb", stack.mongodb().pid().ok()).and("clickhouse", stack.clickhouse().pid().ok())
    }

    /// Waits until Redis has rewritten its file and has nothing left to do.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let mut redis = self.redis().await?;
        let _: redis::Value = redis::cmd("BGREWRITEAOF").query_async(&mut redis).await?;
        until("Redis has rewritten its file", async || {
            let info: String = redis::cmd("INFO").arg("persistence").query_async(&mut redis.clone()).await?;
            Ok(!info.contains("aof_rewrite_in_progress:1") && !info.contains("aof_rewrite_scheduled:1"))
        })
        .await
    }

    /// Deletes every key with this prefix.
    pub async fn delete(&self, prefix: &str) -> anyhow::Result<()> {
        let mut redis = self.redis().await?;
        for key in self.keys(prefix).await?.chunks(1_000) {
            redis::cmd("DEL").arg(key).exec_async(&mut redis).await?;
        }
        Ok(())
    }

    /// Every key with this prefix.
    pub async fn keys(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        let mut redis = self.redis().await?;
        let (mut keys, mut cursor) = (Vec::new(), 0u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1_000);
            let (next, found): (u64, Vec<String>) = scan.query_async(&mut redis).await?;
            keys.extend(found);
            cursor = next;
            if cursor == 0 {
                return Ok(keys);
            }
        }
    }

    /// Bytes that Redis uses.
    pub async fn used_memory(&self) -> anyhow::Result<u64> {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.redis().await?).await?;
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|bytes| bytes.trim().parse().ok()).context("INFO has no used_memory")
    }

    /// ClickHouse's answer to a query, as text.
    pub async fn clickhouse(&self, query: String) -> anyhow::Result<String> {
        let answer = reqwest::Client::new().post(self.stack.clickhouse_url()).body(query).send().await?;
        let ok = answer.status().is_success();
        let text = answer.text().await?;
        if ok { Ok(text) } else { bail!("clickhouse: {text}") }
    }
}

/// The host and port of a URL.
pub fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/').parse().with_context(|| format!("`{url}` has no address"))
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !done().await? {
        if begun.elapsed() > LONG {
            bail!("not within {LONG:?}: {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
