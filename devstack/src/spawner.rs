//! Starts the processes of stores and services.
//!
//! A process that must not outlive this one asks the kernel for a signal when its parent dies. For the kernel the parent is a
//! *thread*, so all such processes are started from one thread that lives as long as this process.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::{io, thread};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::error::DevstackError;

type SpawnRequest = (Command, SyncSender<io::Result<Child>>);

/// Starts a command and appends its output to a log. The command has its own process group, so that Ctrl-C does not reach it.
pub(crate) fn spawn(mut command: Command, log: &Path, detached: bool) -> Result<Child, DevstackError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(DevstackError::file(log))?;
    let errors = output.try_clone().map_err(DevstackError::file(log))?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let child = if detached { command.spawn() } else { spawn_bound(command) };
    child.map_err(|source| DevstackError::Program { program, source })
}

fn spawn_bound(mut command: Command) -> io::Result<Child> {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
    let (reply, answer) = sync_channel(1);
    let gone = |_| io::Error::other("the spawning thread is gone");
    sender()?.lock().map_err(|_| io::Error::other("poisoned"))?.send((command, reply)).map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}

fn sender() -> io::Result<&'static Mutex<SyncSender<SpawnRequest>>> {
    static SENDER: OnceLock<Mutex<SyncSender<SpawnRequest>>> = OnceLock::new();
    if let Some(sender) = SENDER.get() {
        return Ok(sender);
    }
    let (sender, requests) = sync_channel::<SpawnRequest>(1);
    thread::Builder::new().name("devstack-spawner".to_owned()).spawn(move || {
        for (mut command, reply) in requests {
            let _ = reply.send(command.spawn());
        }
    })?;
    Ok(SENDER.get_or_init(|| Mutex::new(sender)))
}
