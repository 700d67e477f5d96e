//! The stores as their clients see them: through their drivers, killed, paused, found again and stopped.
//!
//! Each test has its own stack in a temporary folder.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use millrace_devstack::{DevstackError, Stack, StackOptions, Store, StoreKind, attach_or_up, down, shared_for_tests};
use mongodb::bson::{Document, doc};
use redis::AsyncCommands;

/// Whether a process exists that could still do something.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

fn wait_until_gone(pids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(Instant::now() < deadline, "processes stay: {pids:?}");
        std::thread::yield_now();
    }
}

fn pids(stack: &Stack) -> [u32; 3] {
    StoreKind::ALL.map(|kind| stack.store(kind).pid().unwrap())
}

/// A folder whose detached stack goes when the test ends, however it ends.
struct Detached(tempfile::TempDir);

impl Drop for Detached {
    fn drop(&mut self) {
        let dir = self.0.path().to_owned();
        let stop = move || tokio::runtime::Runtime::new().unwrap().block_on(down(dir)).unwrap();
        std::thread::spawn(stop).join().unwrap();
    }
}

async fn redis_at(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn documents(url: &str) -> mongodb::Collection<Document> {
    mongodb::Client::with_uri_str(url).await.unwrap().database("test").collection("facts")
}

fn clickhouse_at(url: &str) -> clickhouse::Client {
    clickhouse::Client::default().with_url(url)
}

async fn write_to_each(stack: &Stack, value: i64) {
    let () = redis_at(stack.redis_url()).await.set("fact", value).await.unwrap();
    documents(stack.mongodb_url()).await.insert_one(doc! { "_id": value }).await.unwrap();
    let client = clickhouse_at(stack.clickhouse_url());
    client.query("CREATE TABLE IF NOT EXISTS facts (a Int64) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    client.query("INSERT INTO facts VALUES (?)").bind(value).execute().await.unwrap();
}

async fn assert_each_has(stack: &Stack, value: i64) {
    assert_eq!(redis_at(stack.redis_url()).await.get::<_, i64>("fact").await.unwrap(), value);
    let found = documents(stack.mongodb_url()).await.find_one(doc! { "_id": value }).await.unwrap();
    assert!(found.is_some(), "MongoDB lost {value}");
    let query = clickhouse_at(stack.clickhouse_url()).query("SELECT count() FROM facts WHERE a = ?").bind(value);
    assert_eq!(query.fetch_one::<u64>().await.unwrap(), 1, "ClickHouse lost {value}");
}

#[tokio::test]
async fn the_stores_answer_their_drivers_and_down_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let stack = Stack::up(StackOptions::new(dir.path())).await.unwrap();
    let mut redis = redis_at(stack.redis_url()).await;
    assert_eq!(redis.ping::<String>().await.unwrap(), "PONG");
    let policy: Vec<String> =
        redis::cmd("CONFIG").arg(&["GET", "maxmemory-policy"]).query_async(&mut redis).await.unwrap();
    assert_eq!(policy[1], "noeviction");
    let mongodb = documents(stack.mongodb_url()).await;
    assert_eq!(mongodb.count_documents(doc! {}).await.unwrap(), 0);
    let version: String = clickhouse_at(stack.clickhouse_url()).query("SELECT version()").fetch_one().await.unwrap();
    assert!(version.starts_with("26.5"), "{version}");
    assert!(stack.redis().server().starts_with("redis-server 7"), "{}", stack.redis().server());
    assert!(stack.env().iter().all(|(name, url)| name.ends_with("_URL") && url.contains("://127.0.0.1:")));
    let pids = pids(&stack);
    assert!(pids.iter().all(|pid| runs(*pid)));
    stack.down().await.unwrap();
    assert!(!pids.iter().any(|pid| runs(*pid)));
}

#[tokio::test]
async fn acknowledged_data_survives_kill_and_start_on_the_same_port() {
    let dir = tempfile::tempdir().unwrap();
    let options = StackOptions { redis_fsync_always: true, ..StackOptions::new(dir.path()) };
    let stack = Stack::up(options.clone()).await.unwrap();
    for value in [1, 2] {
        write_to_each(&stack, value).await;
        for kind in StoreKind::ALL {
            let (store, url) = (stack.store(kind), stack.store(kind).url().to_owned());
            store.kill().unwrap();
            assert!(!store.is_alive() && !store.answers());
            store.start().await.unwrap();
            assert!(store.is_alive() && store.url() == url);
        }
        assert_each_has(&stack, value).await;
    }
    stack.clickhouse().stop().await.unwrap();
    assert!(!stack.clickhouse().is_alive());
    let pids = pids(&stack);
    drop(stack);
    wait_until_gone(&pids);
    let stack = Stack::up(options).await.unwrap();
    assert_each_has(&stack, 2).await;
}

#[tokio::test]
async fn a_paused_store_answers_again_when_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let stack = Stack::up(StackOptions::new(dir.path())).await.unwrap();
    let store: Store = stack.redis().clone();
    store.pause().unwrap();
    assert!(store.is_alive());
    assert!(!tokio::task::spawn_blocking(move || store.answers()).await.unwrap());
    stack.redis().resume().unwrap();
    assert!(stack.redis().answers());
    stack.mongodb().pause().unwrap();
    stack.down().await.unwrap();
}

#[tokio::test]
async fn a_given_url_is_used_and_left_running() {
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Stack::up(StackOptions::new(first_dir.path())).await.unwrap();
    let options = StackOptions {
        redis_url: Some(first.redis_url().to_owned()),
        mongodb_url: Some(first.mongodb_url().to_owned()),
        clickhouse_url: Some(first.clickhouse_url().to_owned()),
        ..StackOptions::new(second_dir.path())
    };
    let second = Stack::up(options).await.unwrap();
    assert_eq!(second.env(), first.env());
    assert!(matches!(second.redis().kill(), Err(DevstackError::GivenByUrl("Redis"))));
    second.down().await.unwrap();
    assert!(StoreKind::ALL.iter().all(|kind| first.store(*kind).answers()));
}

#[tokio::test]
async fn a_detached_stack_is_found_again_and_stopped_from_elsewhere() {
    let guard = Detached(tempfile::tempdir().unwrap());
    let dir = &guard.0;
    let up = || Stack::attach_or_up(StackOptions::new(dir.path()));
    let first = up().await.unwrap();
    let (urls, before) = (first.env(), pids(&first));
    drop(first);
    let second = up().await.unwrap();
    assert_eq!((second.env(), pids(&second)), (urls.clone(), before));
    assert!(matches!(Stack::up(StackOptions::new(dir.path())).await, Err(DevstackError::InUse(_))));
    second.redis().kill().unwrap();
    second.clickhouse().kill().unwrap();
    second.clickhouse().start().await.unwrap();
    let third = up().await.unwrap();
    assert_eq!(third.env(), urls, "killed stores come back on their ports");
    assert_eq!(pids(&third)[1], before[1]);
    assert_eq!(third.clickhouse().pid().unwrap(), second.clickhouse().pid().unwrap());
    let after = pids(&third);
    down(dir.path()).await.unwrap();
    assert!(![before, after].concat().iter().any(|pid| runs(*pid)));
    assert!(!dir.path().join("stack.json").exists());
    down(dir.path()).await.unwrap();
}

#[tokio::test]
async fn many_askers_at_once_share_one_stack() {
    let guard = Detached(tempfile::tempdir().unwrap());
    let dir = &guard.0;
    let ask = || shared_for_tests(dir.path());
    let (a, b, c) = tokio::join!(ask(), ask(), attach_or_up(dir.path()));
    let seen = [a.unwrap(), b.unwrap(), c.unwrap()].map(|stack| stack.env());
    assert!(seen[0] == seen[1] && seen[1] == seen[2], "{seen:?}");
    down(dir.path()).await.unwrap();
}

#[test]
fn stores_die_with_the_process_that_started_them() {
    let dir = tempfile::tempdir().unwrap();
    // `cargo test` builds the examples beside the tests.
    let program = std::env::current_exe().unwrap().parent().unwrap().join("../examples/hold");
    let mut holder = Command::new(program).arg(dir.path()).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(300);
    let pids: Vec<u32> = loop {
        assert!(Instant::now() < deadline && holder.try_wait().unwrap().is_none(), "the other process failed");
        if let Ok(text) = std::fs::read_to_string(dir.path().join("pids")) {
            break text.split(' ').map(|pid| pid.parse().unwrap()).collect();
        }
        std::thread::yield_now();
    };
    assert!(pids.iter().all(|pid| runs(*pid)));
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until_gone(&pids);
}
