//! A process that this program, or another program of Millrace, started. It is named by pid and start time, so that a
//! signal never reaches another process that was given the same pid later.

use std::fs;
use std::io;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::DevstackError;
use crate::wait;

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// Which process, for good: a pid is used again, a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its pid.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot.
    pub started: u64,
}

/// A process, and how to wait for it if it is this program's own child.
#[derive(Debug)]
pub struct Process {
    /// Which one.
    pub identity: ProcessIdentity,
    child: Option<Child>,
}

impl ProcessIdentity {
    /// The running process itself.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self { pid, started: start_time(pid).unwrap_or_default() }
    }

    /// Whether that process runs (a paused one does too).
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

impl Process {
    /// A process that was just started.
    pub(crate) fn of_child(child: Child) -> Self {
        let pid = child.id();
        let started = start_time(pid).unwrap_or_default();
        Self { identity: ProcessIdentity { pid, started }, child: Some(child) }
    }

    /// A process that some other process started.
    pub(crate) fn attached(identity: ProcessIdentity) -> Self {
        Self { identity, child: None }
    }

    /// Whether it runs (a paused one does too).
    pub fn is_alive(&mut self) -> bool {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            self.child = None;
        }
        self.identity.is_alive()
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<(), DevstackError> {
        self.signal(Signal::KILL)?;
        let pid = self.identity.pid;
        let gone = wait::until(GONE, || !self.is_alive());
        let late = || DevstackError::Signal { pid, source: io::ErrorKind::TimedOut.into() };
        gone.then_some(()).ok_or_else(late)
    }

    /// SIGTERM; SIGKILL when the time is over.
    pub(crate) fn stop(&mut self, limit: Duration) -> Result<(), DevstackError> {
        self.signal(Signal::TERM)?;
        // A paused process receives its signals only when it goes on.
        self.signal(Signal::CONT)?;
        if wait::until(limit, || !self.is_alive()) { Ok(()) } else { self.kill() }
    }

    /// Sends a signal. Does nothing if the process is gone.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), DevstackError> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = self.identity.pid;
        let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        match kill_process(target, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(DevstackError::Signal { pid, source: error.into() }),
        }
    }
}

/// The start time of a running process, from its `stat`; `None` if it is gone.
///
/// A zombie is gone when it has no thread left but the first: until then the others may hold its port and files.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; fields are counted from the one after it, the third of all.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let (state, threads, started) = (fields.first()?, fields.get(17)?, fields.get(19)?);
    let dead = matches!(*state, "Z" | "X");
    if dead && threads.parse::<u32>().ok()? <= 1 { None } else { started.parse().ok() }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_killed_process_is_gone_and_another_of_its_pid_is_not_it() {
        assert!(ProcessIdentity::current().is_alive());
        let mut process = Process::of_child(Command::new("sleep").arg("60").spawn().unwrap());
        assert!(process.is_alive());
        let ProcessIdentity { pid, started } = process.identity;
        assert!(!Process::attached(ProcessIdentity { pid, started: started + 1 }).is_alive());
        process.kill().unwrap();
        assert!(!process.is_alive());
        process.kill().unwrap();
    }

    #[test]
    fn a_paused_process_can_be_stopped() {
        let mut process = Process::of_child(Command::new("sleep").arg("60").spawn().unwrap());
        process.signal(Signal::STOP).unwrap();
        assert!(process.is_alive());
        process.stop(Duration::from_secs(10)).unwrap();
        assert!(!process.is_alive());
    }
}
