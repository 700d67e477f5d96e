//! The three stores together: up, found again, down.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::error::DevstackError;
use crate::kind::StoreKind;
use crate::native::{NativeStore, stop_recorded};
use crate::options::StackOptions;
use crate::record::{LOCK, StackRecord, lock};
use crate::store::Store;

/// Three running stores.
///
/// Unless detached, they are killed when this value is dropped or this process dies; [`Stack::down`] stops them in good
/// order.
#[derive(Debug)]
pub struct Stack {
    dir: PathBuf,
    stores: [Store; 3],
    /// Held while this process alone owns the stores. None for a detached stack.
    lock: Option<File>,
}

impl Stack {
    /// Starts every store that no URL is given for, all at once, and waits until each answers.
    ///
    /// The folder must not be in use by another stack. Data that is already there is used again.
    pub async fn up(options: StackOptions) -> Result<Self, DevstackError> {
        spawn_blocking(move || {
            let lock = lock(&options.dir, Duration::ZERO)?;
            let record = StackRecord::read(&options.dir);
            if record.stores.iter().any(|store| store.process.is_alive()) {
                return Err(DevstackError::InUse(options.dir));
            }
            bring_up(&options, &StackRecord::default(), lock)
        })
        .await?
    }

    /// The detached stack of a folder: stores that run are used, the others are started.
    ///
    /// Options for fsync and memory do not change a store that runs already.
    pub async fn attach_or_up(options: StackOptions) -> Result<Self, DevstackError> {
        let options = StackOptions { detached: true, ..options };
        spawn_blocking(move || {
            let lock = lock(&options.dir, LOCK)?;
            bring_up(&options, &StackRecord::read(&options.dir), lock)
        })
        .await?
    }

    /// The store of a kind.
    pub fn store(&self, kind: StoreKind) -> &Store {
        &self.stores[kind as usize]
    }

    /// The log and the online state.
    pub fn redis(&self) -> &Store {
        self.store(StoreKind::Redis)
    }

    /// Profiles.
    pub fn mongodb(&self) -> &Store {
        self.store(StoreKind::MongoDb)
    }

    /// The offline store.
    pub fn clickhouse(&self) -> &Store {
        self.store(StoreKind::ClickHouse)
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
        spawn_blocking(move || stop_all(self.stores.iter().filter_map(stop_native))).await?
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.lock.is_some() {
            for store in self.stores.iter().filter(|store| store.is_native()) {
                // A drop cannot report an error, and the kernel kills the store with this process anyway.
                let _ = store.kill();
            }
        }
    }
}

/// The detached stack of a folder, with the environment's URLs: for `up` in one process and `down` in another.
pub async fn attach_or_up(dir: impl Into<PathBuf>) -> Result<Stack, DevstackError> {
    Stack::attach_or_up(StackOptions::from_env(dir)).await
}

/// The folder of the stack that all tests of a workspace share: `MILLRACE_TEST_STORES`, or else `target/test-stores`.
pub fn test_dir() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-stores");
    std::env::var_os("MILLRACE_TEST_STORES").map_or_else(default, PathBuf::from)
}

/// One stack for all test processes of a checkout: the first starts it, the others use it, [`down`] ends it.
///
/// A test that kills or fills a store needs a stack of its own.
pub async fn shared_for_tests(dir: impl Into<PathBuf>) -> Result<Stack, DevstackError> {
    attach_or_up(dir).await
}

/// Stops the detached stack of a folder, from any process. Data stays. Does nothing if there is no stack.
pub async fn down(dir: impl Into<PathBuf>) -> Result<(), DevstackError> {
    let dir = dir.into();
    spawn_blocking(move || {
        if !dir.exists() {
            return Ok(());
        }
        let _lock = lock(&dir, LOCK)?;
        let record = StackRecord::read(&dir);
        stop_all(record.stores.iter().map(|store| || stop_recorded(store.process)))?;
        StackRecord::remove(&dir)
    })
    .await?
}

fn bring_up(options: &StackOptions, record: &StackRecord, lock: File) -> Result<Stack, DevstackError> {
    let results = std::thread::scope(|scope| {
        let threads = StoreKind::ALL.map(|kind| scope.spawn(move || bring_up_one(kind, options, record)));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let running: Vec<Store> = results.iter().flatten().cloned().collect();
    if options.detached {
        // Also when one failed: other processes may use the rest already, and `down` must find them.
        save(&options.dir, &running)?;
    } else if running.len() < results.len() {
        stop_all(running.iter().filter_map(stop_native))?;
    }
    let [redis, mongodb, clickhouse] = results;
    let stores = [redis?, mongodb?, clickhouse?];
    Ok(Stack { dir: options.dir.clone(), stores, lock: (!options.detached).then_some(lock) })
}

fn bring_up_one(kind: StoreKind, options: &StackOptions, record: &StackRecord) -> Result<Store, DevstackError> {
    let given = match kind {
        StoreKind::Redis => &options.redis_url,
        StoreKind::MongoDb => &options.mongodb_url,
        StoreKind::ClickHouse => &options.clickhouse_url,
    };
    if let Some(url) = given {
        return Ok(Store::given(kind, url.clone()));
    }
    Ok(Store::native(kind, bring_up_native(kind, options, record)?))
}

fn bring_up_native(
    kind: StoreKind,
    options: &StackOptions,
    record: &StackRecord,
) -> Result<NativeStore, DevstackError> {
    let Some(recorded) = record.store(kind) else {
        return NativeStore::start_fresh(kind, options);
    };
    if let Some(store) = NativeStore::attach(recorded, &options.dir) {
        return Ok(store);
    }
    // It ended, or it hangs. It is started again on its own port if possible: other processes hold its URL.
    stop_recorded(recorded.process)?;
    NativeStore::start(kind, recorded.launch.clone(), &options.dir, true)
        .or_else(|_| NativeStore::start_fresh(kind, options))
}

/// How to stop a store, if devstack started it.
fn stop_native(store: &Store) -> Option<impl FnOnce() -> Result<(), DevstackError> + Send> {
    store.as_native().map(|native| || native.stop())
}

/// Runs the stops side by side, and returns the first error.
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
    let mut record = StackRecord::read(dir);
    stores.iter().filter_map(Store::as_native).for_each(|native| record.set(native.record()));
    record.write(dir)
}
