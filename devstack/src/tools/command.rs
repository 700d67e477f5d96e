//! External programs: found on PATH, run to their end, and installed with apt on systems that have it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::DevstackError;
use crate::tools::{cache_dir, lock, say};

/// How many lines of a failed program's output are shown.
const TAIL_LINES: usize = 20;

/// A program on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a program to its end and returns its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, DevstackError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|source| DevstackError::Program { program, source })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let all = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Err(DevstackError::Command { command: format!("{command:?}"), output: tail(&all) })
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Installs a Debian package, as root or through a sudo without a password.
pub(crate) fn apt_install(tool: &'static str, package: &str) -> Result<(), DevstackError> {
    let missing =
        |why: &str| DevstackError::Missing { tool, advice: format!("{why}; install {package} and try again") };
    if on_path("apt-get").is_none() {
        return Err(missing("there is no apt-get here"));
    }
    let as_root = if rustix::process::geteuid().is_root() {
        vec![]
    } else if on_path("sudo").is_some() {
        vec!["sudo", "-n"]
    } else {
        return Err(missing("apt-get needs root and there is no sudo"));
    };
    let _lock = lock(&cache_dir()?.join("apt.lock"))?;
    say(&format!("installing {package} with apt-get"));
    let apt = |arguments: &[&str]| {
        let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"];
        let mut words = as_root.iter().copied().chain(environment);
        let mut command = Command::new(words.next().unwrap_or("env"));
        run(command.args(words).args(arguments))
    };
    apt(&["update"])?;
    apt(&["install", "-y", "--no-install-recommends", package])?;
    Ok(())
}

/// A program on PATH, installed from a Debian package if it is not there.
pub(crate) fn on_path_or_apt(program: &'static str, package: &str) -> Result<PathBuf, DevstackError> {
    if let Some(path) = on_path(program) {
        return Ok(path);
    }
    apt_install(program, package)?;
    on_path(program).ok_or_else(|| DevstackError::Missing {
        tool: program,
        advice: format!("{package} is installed, but {program} is not on PATH"),
    })
}
