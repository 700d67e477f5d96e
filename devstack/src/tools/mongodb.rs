//! MongoDB: `mongod` where it is installed, otherwise SecantusDB in a virtualenv of the cache.
//!
//! SecantusDB speaks MongoDB's wire protocol over MongoDB's storage engine, WiredTiger. It is GPL-2.0: a program of its own
//! that is fetched and run, never linked or shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::DevstackError;
use crate::tools::command::{apt_install, on_path, run};
use crate::tools::{cached, say};

/// SecantusDB's version on PyPI.
pub const SECANTUS_VERSION: &str = "0.7.0b3";

/// Pythons for which SecantusDB has wheels, the plain name first.
const PYTHONS: [&str; 5] = ["python3", "python3.12", "python3.11", "python3.13", "python3.10"];
const MINORS: std::ops::RangeInclusive<u32> = 10..=13;

/// A program that serves MongoDB's protocol.
#[derive(Debug, Clone)]
pub enum Server {
    /// The real one, and its version.
    Mongod(PathBuf, String),
    /// SecantusDB, and an empty configuration that keeps it from reading one of the user's.
    Secantus(PathBuf, PathBuf),
}

impl Server {
    /// What is used, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Mongod(_, version) => format!("mongod {version}"),
            Self::Secantus(..) => {
                format!("SecantusDB {SECANTUS_VERSION} (WiredTiger, wire protocol 8.2)")
            }
        }
    }
}

/// `mongod` from PATH, or SecantusDB, fetched if it is not in the cache (60 MB).
pub fn server() -> Result<Server, DevstackError> {
    if let Some(program) = on_path("mongod") {
        let text = run(Command::new(&program).arg("--version"))?;
        // `db version v7.0.5`
        let version = text.lines().next().and_then(|line| line.rsplit(" v").next()).unwrap_or("?");
        return Ok(Server::Mongod(program, version.to_owned()));
    }
    let works = |folder: &Path| {
        launcher(folder).is_file() && configuration(folder).is_file() && folder.join("bin/python3").exists()
    };
    let folder = cached(&format!("secantusdb-{SECANTUS_VERSION}"), works, fetch)?;
    Ok(Server::Secantus(launcher(&folder), configuration(&folder)))
}

fn launcher(folder: &Path) -> PathBuf {
    folder.join("bin/secantusd-py")
}

fn configuration(folder: &Path) -> PathBuf {
    folder.join("empty.toml")
}

/// A virtualenv knows its own path, so it is made where it stays.
fn fetch(folder: &Path) -> Result<(), DevstackError> {
    say(&format!("fetching SecantusDB {SECANTUS_VERSION} (60 MB)"));
    let python = python()?;
    if make_venv(&python, folder).is_err() {
        apt_install("python3-venv", "python3-venv")?;
        make_venv(&python, folder)?;
    }
    let mut pip = Command::new(folder.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    run(pip.arg(format!("secantusdb=={SECANTUS_VERSION}")))?;
    let configuration = configuration(folder);
    std::fs::write(&configuration, "").map_err(DevstackError::file(configuration))
}

fn make_venv(python: &Path, folder: &Path) -> Result<String, DevstackError> {
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder))
}

fn python() -> Result<PathBuf, DevstackError> {
    let find = || PYTHONS.iter().find_map(|name| interpreter(name));
    if let Some(python) = find() {
        return Ok(python);
    }
    apt_install("python3", "python3-venv")?;
    find().ok_or_else(|| DevstackError::Missing {
        tool: "Python 3.10 to 3.13",
        advice: "install one of them, or mongod, or set MONGODB_URL".to_owned(),
    })
}

/// The interpreter itself: a name on PATH may be a shim that has nothing behind it, or changes with the folder.
fn interpreter(name: &str) -> Option<PathBuf> {
    let question = "import sys; print(sys.version_info[0], sys.version_info[1], sys.executable)";
    let answer = run(Command::new(on_path(name)?).args(["-c", question])).ok()?;
    let mut words = answer.trim().splitn(3, ' ');
    let (major, minor) = (words.next()?, words.next()?.parse().ok()?);
    (major == "3" && MINORS.contains(&minor)).then(|| words.next().map(PathBuf::from))?
}
