//! The three stores together: up, found again, down.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::error::DevstackError;
use crate::launch;
use crate::options::StackOptions;
use crate::process::Process;
use crate::state::{Entry, LOCK, State, lock};
use crate::store::{Kind, Store};

/// A store that is told to stop is killed after this.
const STOP: Duration = Duration::from_secs(10);

/// Three running stores.
///
/// Unless detached, they are killed when this is dropped or this process dies; [`Stack::down`] stops them in good order.
#[derive(Debug)]
pub struct Stack {
    dir: PathBuf,
    stores: [Store; 3],
    /// Held as long as the stores are ours alone; `None` for a detached stack.
    lock: Option<File>,
}

impl Stack {
    /// Starts what no URL is given for, all at once, and waits until each answers.
    ///
    /// The folder must not be in use by another stack. Its data is used again.
    pub async fn up(options: StackOptions) -> Result<Self, DevstackError> {
        spawn_blocking(move || {
            let lock = lock(&options.dir, Duration::ZERO)?;
            let state = State::read(&options.dir);
            if state.stores.iter().any(|entry| Process::attached(entry.process).is_alive()) {
                return Err(DevstackError::InUse(options.dir));
            }
            bring_up(&options, &State::default(), lock)
        })
        .await?
    }

    /// The detached stack of a folder: the stores that run are used, the others are started.
    ///
    /// Options that concern a running store (fsync, memory) do not change it.
    pub async fn attach_or_up(options: StackOptions) -> Result<Self, DevstackError> {
        let options = StackOptions { detached: true, ..options };
        spawn_blocking(move || {
            let lock = lock(&options.dir, LOCK)?;
            bring_up(&options, &State::read(&options.dir), lock)
        })
        .await?
    }

    /// The store of a kind.
    pub fn store(&self, kind: Kind) -> &Store {
        &self.stores[kind as usize]
    }

    /// The log and the online state.
    pub fn redis(&self) -> &Store {
        self.store(Kind::Redis)
    }

    /// Profiles.
    pub fn mongodb(&self) -> &Store {
        self.store(Kind::MongoDb)
    }

    /// The offline store.
    pub fn clickhouse(&self) -> &Store {
        self.store(Kind::ClickHouse)
    }

    /// `redis://…`
    pub fn redis_url(&self) -> &str {
        self.redis().url()
    }

    /// `mongodb://…`
    pub fn mongodb_url(&self) -> &str {
        self.mongodb().url()
    }

    /// `http://…`
    pub fn clickhouse_url(&self) -> &str {
        self.clickhouse().url()
    }

    /// Where data and logs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `REDIS_URL`, `MONGODB_URL` and `CLICKHOUSE_URL` with their values.
    pub fn env(&self) -> Vec<(String, String)> {
        self.stores.iter().map(|store| (store.kind().variable().to_owned(), store.url().to_owned())).collect()
    }

    /// Stops what devstack started, within about ten seconds, and waits until it is gone. Data stays.
    pub async fn down(self) -> Result<(), DevstackError> {
        if self.lock.is_none() {
            return down(&self.dir).await;
        }
        spawn_blocking(move || stop_all(self.stores.each_ref().map(|store| || store.stop_blocking()))).await?
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.lock.is_some() {
            for store in self.stores.iter().filter(|store| store.is_native()) {
                // Nobody is left to tell; the kernel kills it with this process anyway.
                let _ = store.kill();
            }
        }
    }
}

/// The detached stack of a folder, with the environment's URLs: for `up` in one process and `down` in another.
pub async fn attach_or_up(dir: impl Into<PathBuf>) -> Result<Stack, DevstackError> {
    Stack::attach_or_up(StackOptions::from_env(dir)).await
}

/// The folder of the stack that all tests of a workspace share: `MILLRACE_TEST_STORES`, or `target/test-stores`.
pub fn test_dir() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-stores");
    std::env::var_os("MILLRACE_TEST_STORES").map_or_else(default, PathBuf::from)
}

/// One stack for all test processes of a checkout: the first starts it, the others use it, [`down`] ends it.
///
/// Tests that kill or fill a store take a stack of their own.
pub async fn shared_for_tests(dir: impl Into<PathBuf>) -> Result<Stack, DevstackError> {
    attach_or_up(dir).await
}

/// Stops the detached stack of a folder, from whatever process. Data stays. No stack there is fine.
pub async fn down(dir: impl Into<PathBuf>) -> Result<(), DevstackError> {
    let dir = dir.into();
    spawn_blocking(move || {
        if !dir.exists() {
            return Ok(());
        }
        let _lock = lock(&dir, LOCK)?;
        let state = State::read(&dir);
        stop_all(state.stores.iter().map(|entry| || Process::attached(entry.process).stop(STOP)))?;
        State::remove(&dir)
    })
    .await?
}

fn bring_up(options: &StackOptions, state: &State, lock: File) -> Result<Stack, DevstackError> {
    let results = std::thread::scope(|scope| {
        let threads = Kind::ALL.map(|kind| scope.spawn(move || bring_up_one(kind, options, state)));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let running: Vec<Store> = results.iter().flatten().cloned().collect();
    if options.detached {
        // Also when one failed: the others may serve somebody already, and `down` must find them.
        save(&options.dir, &running)?;
    } else if running.len() < results.len() {
        stop_all(running.iter().map(|store| || store.stop_blocking()))?;
    }
    let [redis, mongodb, clickhouse] = results;
    let stores = [redis?, mongodb?, clickhouse?];
    Ok(Stack { dir: options.dir.clone(), stores, lock: (!options.detached).then_some(lock) })
}

fn bring_up_one(kind: Kind, options: &StackOptions, state: &State) -> Result<Store, DevstackError> {
    let given = match kind {
        Kind::Redis => &options.redis_url,
        Kind::MongoDb => &options.mongodb_url,
        Kind::ClickHouse => &options.clickhouse_url,
    };
    if let Some(url) = given {
        return Ok(Store::given(kind, url.clone()));
    }
    let Some(Entry { launch, process, .. }) = state.entry(kind).cloned() else {
        return launch::fresh(kind, options);
    };
    if let Some(store) = Store::attach(kind, launch.clone(), &options.dir, process) {
        return Ok(store);
    }
    // It ended, or hangs: back on its own port if that can be, so that URLs that were handed out stay true.
    Process::attached(process).stop(STOP)?;
    Store::launch(kind, launch, &options.dir, true).or_else(|_| launch::fresh(kind, options))
}

/// Runs the stops side by side; the first error counts.
fn stop_all<F>(stops: impl IntoIterator<Item = F>) -> Result<(), DevstackError>
where
    F: FnOnce() -> Result<(), DevstackError> + Send,
{
    std::thread::scope(|scope| {
        let threads: Vec<_> = stops.into_iter().map(|stop| scope.spawn(stop)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<(), DevstackError>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Vec<_>>().into_iter().collect()
    })
}

fn save(dir: &Path, stores: &[Store]) -> Result<(), DevstackError> {
    let mut state = State::read(dir);
    stores.iter().filter_map(Store::entry).for_each(|entry| state.set(entry));
    state.write(dir)
}
