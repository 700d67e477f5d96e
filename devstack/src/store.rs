//! One store: where it is, and for a native one how to start, kill, stop and pause it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::error::DevstackError;
use crate::process::{Identity, Process};
use crate::state::{self, Entry, LOCK, State};
use crate::tools::command::tail;
use crate::{probe, spawner, wait};

/// A store answers within this after its start, on a slow and busy machine too.
const READY: Duration = Duration::from_secs(90);
/// SIGTERM gets this long before SIGKILL.
const STOP: Duration = Duration::from_secs(10);

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The log and the online state.
    Redis,
    /// Profiles.
    MongoDb,
    /// The offline store.
    ClickHouse,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis, Self::MongoDb, Self::ClickHouse];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::MongoDb => "MongoDB",
            Self::ClickHouse => "ClickHouse",
        }
    }

    /// Its folder in the stack's folder; its log is beside it, with `.log`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MongoDb => "mongodb",
            Self::ClickHouse => "clickhouse",
        }
    }

    /// The variable that carries its URL.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_URL",
            Self::MongoDb => "MONGODB_URL",
            Self::ClickHouse => "CLICKHOUSE_URL",
        }
    }

    pub(crate) fn url(self, port: u16) -> String {
        let scheme = match self {
            Self::Redis => "redis",
            Self::MongoDb => "mongodb",
            Self::ClickHouse => "http",
        };
        format!("{scheme}://127.0.0.1:{port}")
    }
}

/// How a native store is started; the same each time, so that it comes back on its port with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The server's name and version, for people.
    pub server: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it listens on loopback.
    pub port: u16,
}

/// A store of a stack. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    kind: Kind,
    url: String,
    native: Option<Arc<Native>>,
}

#[derive(Debug)]
struct Native {
    kind: Kind,
    launch: Launch,
    dir: PathBuf,
    log: PathBuf,
    detached: bool,
    process: Mutex<Process>,
}

impl Store {
    /// One that was given by its URL.
    pub(crate) fn given(kind: Kind, url: String) -> Self {
        Self { kind, url, native: None }
    }

    /// Starts one and waits until it answers. Blocks.
    pub(crate) fn launch(kind: Kind, launch: Launch, dir: &Path, detached: bool) -> Result<Self, DevstackError> {
        let process = start(kind, &launch, &log_path(dir, kind), detached)?;
        Ok(Self::native(kind, launch, dir, detached, process))
    }

    /// One that another process started, if it runs and answers. Blocks.
    pub(crate) fn attach(kind: Kind, launch: Launch, dir: &Path, identity: Identity) -> Option<Self> {
        let mut process = Process::attached(identity);
        let usable = process.is_alive() && probe::answers(kind, launch.port);
        usable.then(|| Self::native(kind, launch, dir, true, process))
    }

    fn native(kind: Kind, launch: Launch, dir: &Path, detached: bool, process: Process) -> Self {
        let (url, log) = (kind.url(launch.port), log_path(dir, kind));
        let native = Native { kind, launch, dir: dir.to_owned(), log, detached, process: Mutex::new(process) };
        Self { kind, url, native: Some(Arc::new(native)) }
    }

    /// Which store.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name and version of the server, for people; the URL if it was given.
    pub fn server(&self) -> &str {
        self.native.as_deref().map_or(&self.url, |native| &native.launch.server)
    }

    /// Whether it was started by devstack.
    pub fn is_native(&self) -> bool {
        self.native.is_some()
    }

    /// The server's log.
    pub fn log(&self) -> Option<&Path> {
        self.native.as_deref().map(|native| native.log.as_path())
    }

    /// The running process.
    pub fn pid(&self) -> Result<u32, DevstackError> {
        Ok(self.ours()?.process().identity.pid)
    }

    pub(crate) fn entry(&self) -> Option<Entry> {
        let native = self.native.as_deref()?;
        Some(native.entry(native.process().identity))
    }

    /// Whether the process runs; a paused one does. False for a store given by URL.
    pub fn is_alive(&self) -> bool {
        self.native.as_deref().is_some_and(|native| native.process().is_alive())
    }

    /// Whether it answers a query now. False for a store given by URL.
    pub fn answers(&self) -> bool {
        self.native.as_deref().is_some_and(|native| probe::answers(native.kind, native.launch.port))
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&self) -> Result<(), DevstackError> {
        self.ours()?.process().kill()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<(), DevstackError> {
        self.ours()?.process().signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), DevstackError> {
        self.ours()?.process().signal(Signal::CONT)
    }

    /// SIGTERM, and SIGKILL if it takes longer than ten seconds.
    pub async fn stop(&self) -> Result<(), DevstackError> {
        let native = self.ours()?.clone();
        tokio::task::spawn_blocking(move || native.process().stop(STOP)).await?
    }

    /// Starts it again on its port and data, and waits until it answers; does nothing if it runs.
    pub async fn start(&self) -> Result<(), DevstackError> {
        let native = self.ours()?.clone();
        tokio::task::spawn_blocking(move || native.restart()).await?
    }

    fn ours(&self) -> Result<&Arc<Native>, DevstackError> {
        self.native.as_ref().ok_or(DevstackError::NotOurs(self.kind.name()))
    }

    /// As [`Self::stop`], on this thread; nothing for a store given by URL.
    pub(crate) fn stop_blocking(&self) -> Result<(), DevstackError> {
        self.native.as_deref().map_or(Ok(()), |native| native.process().stop(STOP))
    }
}

impl Native {
    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, process: Identity) -> Entry {
        Entry { kind: self.kind, url: self.kind.url(self.launch.port), launch: self.launch.clone(), process }
    }

    fn restart(&self) -> Result<(), DevstackError> {
        let mut process = self.process();
        if process.is_alive() {
            return Ok(());
        }
        *process = start(self.kind, &self.launch, &self.log, self.detached)?;
        if self.detached { self.record(process.identity) } else { Ok(()) }
    }

    /// So that `down` in another process finds it.
    fn record(&self, process: Identity) -> Result<(), DevstackError> {
        let _lock = state::lock(&self.dir, LOCK)?;
        let mut state = State::read(&self.dir);
        state.set(self.entry(process));
        state.write(&self.dir)
    }
}

fn log_path(dir: &Path, kind: Kind) -> PathBuf {
    dir.join(format!("{}.log", kind.folder()))
}

fn start(kind: Kind, launch: &Launch, log: &Path, detached: bool) -> Result<Process, DevstackError> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments);
    let mut process = Process::of_child(spawner::spawn(command, log, detached)?);
    let begun = Instant::now();
    let mut ended = false;
    let ready = wait::until(READY, || {
        ended = !process.is_alive();
        ended || probe::answers(kind, launch.port)
    });
    if ready && !ended {
        return Ok(process);
    }
    process.kill()?;
    let what = match ended {
        true => "ended before it answered".to_owned(),
        false => format!("did not answer within {:?}", begun.elapsed()),
    };
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Err(DevstackError::NotReady { store: kind.name(), what, log: log.to_owned(), tail: tail(&text) })
}
