//! A real Redis for the log's tests. All tests share one, which ends with the last test that uses it. Tests that fill,
//! configure or kill a Redis start one of their own. The log needs no other store, so the whole stack is not started.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use millrace_common::log::{Acquisition, LeaseGrant, Log, LogMeta, lease};
use millrace_common::names::Names;
use redis::aio::MultiplexedConnection;

/// A `redis-server` of this process.
pub struct Redis {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Redis {
    /// Starts one on a free port, with its data in a folder that is removed with it.
    pub fn start() -> Self {
        for _ in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut redis = Self { child: spawn(port, dir.path()), port, dir };
            if redis.wait_until_ready() {
                return redis;
            }
        }
        panic!("no redis-server came up; is it installed?");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, self.dir.path());
        assert!(self.wait_until_ready());
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    fn wait_until_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let client = redis::Client::open(self.url()).unwrap();
            if let Ok(mut connection) = client.get_connection() {
                return redis::cmd("PING").query::<String>(&mut connection).is_ok();
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, dir: &std::path::Path) -> Child {
    let (program, _) = millrace_devstack::tools::redis::server().unwrap();
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The Redis that the tests share.
pub fn shared() -> Arc<Redis> {
    static SHARED: Mutex<Weak<Redis>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let redis = Arc::new(Redis::start());
        *shared = Arc::downgrade(&redis);
        redis
    })
}

/// The MongoDB that tests share, or that of `MONGODB_URL`. It stays up as long as the stack is kept.
pub async fn mongodb() -> (String, Option<millrace_devstack::Stack>) {
    if let Ok(url) = std::env::var("MONGODB_URL") {
        return (url, None);
    }
    let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
    (stack.mongodb_url().to_owned(), Some(stack))
}

/// A log of its own for one test, and a connection to Redis beside it.
pub struct Fixture {
    pub log: Log,
    pub redis: MultiplexedConnection,
    pub server: Arc<Redis>,
}

impl Fixture {
    /// A log of two partitions under a namespace of that name.
    pub async fn new(name: &str) -> Self {
        Self::on(shared(), name).await
    }

    pub async fn on(server: Arc<Redis>, name: &str) -> Self {
        let log = Log::create(&server.url(), Names::new(name), LogMeta::new(2, 300_000)).await.unwrap();
        Self { log, redis: server.connect().await, server }
    }

    /// Sends a command to Redis.
    pub async fn ask<T: redis::FromRedisValue>(&mut self, command: &[&str]) -> T {
        self.try_ask(command).await.unwrap()
    }

    pub async fn try_ask<T: redis::FromRedisValue>(&mut self, command: &[&str]) -> redis::RedisResult<T> {
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]);
        cmd.query_async(&mut self.redis).await
    }
}

/// Asks for the lease of `key`, once. None: another owner has it.
pub async fn acquire(log: &Log, key: &str, owner: &str, ttl: Duration) -> Option<LeaseGrant> {
    match lease::acquire(log, key, owner, ttl).await.unwrap() {
        Acquisition::Acquired(grant) => Some(grant),
        Acquisition::Held(_) => None,
    }
}

/// Polls until it holds.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
