//! A store that devstack runs as a process: started on a free port, found again, restarted on the same port and data.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::DevstackError;
use crate::kind::StoreKind;
use crate::launch::StoreLaunch;
use crate::options::StackOptions;
use crate::process::{Process, ProcessIdentity};
use crate::record::{self, LOCK, StackRecord, StoreRecord};
use crate::tools::command::tail;
use crate::{ports, probe, spawner, wait};

/// A store answers within this time after its start, also on a slow and busy machine.
const READY: Duration = Duration::from_secs(90);
/// SIGKILL follows SIGTERM after this time.
const STOP: Duration = Duration::from_secs(10);
/// Two processes that look for a free port at the same time may find the same one, so a start is tried again.
const TRIES: usize = 3;

/// A store's process, and everything that is needed to start it again.
#[derive(Debug)]
pub(crate) struct NativeStore {
    kind: StoreKind,
    launch: StoreLaunch,
    dir: PathBuf,
    log: PathBuf,
    detached: bool,
    process: Mutex<Process>,
}

impl NativeStore {
    /// Fetches the store's program if it is missing, starts it on a free port, and waits until it answers. Blocks.
    pub(crate) fn start_fresh(kind: StoreKind, options: &StackOptions) -> Result<Self, DevstackError> {
        let data = options.dir.join(kind.folder());
        std::fs::create_dir_all(&data).map_err(DevstackError::file(&data))?;
        let data = data.canonicalize().map_err(DevstackError::file(&data))?;
        let mut tries = 0;
        loop {
            tries += 1;
            let launch = StoreLaunch::new(kind, options, &data, ports::free()?)?;
            match Self::start(kind, launch, &options.dir, options.detached) {
                Err(DevstackError::NotReady { tail, .. }) if tries < TRIES && port_was_taken(&tail) => {}
                result => return result,
            }
        }
    }

    /// Starts the store as it was started before, and waits until it answers. Blocks.
    pub(crate) fn start(
        kind: StoreKind,
        launch: StoreLaunch,
        dir: &Path,
        detached: bool,
    ) -> Result<Self, DevstackError> {
        let process = start_process(kind, &launch, &log_path(dir, kind), detached)?;
        Ok(Self::of(kind, launch, dir, detached, process))
    }

    /// The store that another process started. Returns None if it has ended or does not answer. Blocks.
    pub(crate) fn attach(recorded: &StoreRecord, dir: &Path) -> Option<Self> {
        let StoreRecord { kind, launch, process, .. } = recorded;
        let mut process = Process::attached(*process);
        let usable = process.is_alive() && probe::answers(*kind, launch.port);
        usable.then(|| Self::of(*kind, launch.clone(), dir, true, process))
    }

    fn of(kind: StoreKind, launch: StoreLaunch, dir: &Path, detached: bool, process: Process) -> Self {
        let (dir, log) = (dir.to_owned(), log_path(dir, kind));
        Self { kind, launch, dir, log, detached, process: Mutex::new(process) }
    }

    pub(crate) fn url(&self) -> String {
        self.kind.url(self.launch.port)
    }

    pub(crate) fn server(&self) -> &str {
        &self.launch.server
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn identity(&self) -> ProcessIdentity {
        self.process().identity
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.process().is_alive()
    }

    pub(crate) fn answers(&self) -> bool {
        probe::answers(self.kind, self.launch.port)
    }

    pub(crate) fn kill(&self) -> Result<(), DevstackError> {
        self.process().kill()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), DevstackError> {
        self.process().signal(signal)
    }

    /// SIGTERM, then SIGKILL if that takes too long. Blocks.
    pub(crate) fn stop(&self) -> Result<(), DevstackError> {
        self.process().stop(STOP)
    }

    /// Starts the process again if it has ended, and waits until the store answers. Blocks.
    pub(crate) fn restart(&self) -> Result<(), DevstackError> {
        let mut process = self.process();
        if process.is_alive() {
            return Ok(());
        }
        *process = start_process(self.kind, &self.launch, &self.log, self.detached)?;
        if self.detached { self.write_record(process.identity) } else { Ok(()) }
    }

    /// The entry of this store in `stack.json`.
    pub(crate) fn record(&self) -> StoreRecord {
        self.record_of(self.identity())
    }

    fn record_of(&self, process: ProcessIdentity) -> StoreRecord {
        StoreRecord { kind: self.kind, url: self.url(), launch: self.launch.clone(), process }
    }

    /// Writes the new process down, so that `down` in another process finds it.
    fn write_record(&self, process: ProcessIdentity) -> Result<(), DevstackError> {
        let _lock = record::lock(&self.dir, LOCK)?;
        let mut record = StackRecord::read(&self.dir);
        record.set(self.record_of(process));
        record.write(&self.dir)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops a process that `stack.json` names, from any process. Blocks.
pub(crate) fn stop_recorded(process: ProcessIdentity) -> Result<(), DevstackError> {
    Process::attached(process).stop(STOP)
}

fn port_was_taken(tail: &str) -> bool {
    tail.to_lowercase().contains("address already in use")
}

fn log_path(dir: &Path, kind: StoreKind) -> PathBuf {
    dir.join(format!("{}.log", kind.folder()))
}

fn start_process(kind: StoreKind, launch: &StoreLaunch, log: &Path, detached: bool) -> Result<Process, DevstackError> {
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
    Err(DevstackError::NotReady { program: kind.name(), what, log: log.to_owned(), tail: tail(&text) })
}
