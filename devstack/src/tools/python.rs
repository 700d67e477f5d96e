//! Python packages in virtualenvs of the cache: SecantusDB, and the packages of the demo's check and of client tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::DevstackError;
use crate::tools::command::{apt_install, on_path, run};
use crate::tools::{cached, say};

/// Pythons for which the packages have wheels, the plain name first.
const PYTHONS: [&str; 5] = ["python3", "python3.12", "python3.11", "python3.13", "python3.10"];
const MINORS: std::ops::RangeInclusive<u32> = 10..=13;

/// The interpreter of a virtualenv called `name` with these packages (`name==version`), made if it is not there.
pub fn virtualenv(name: &str, packages: &[String]) -> Result<PathBuf, DevstackError> {
    let folder = cached(
        name,
        |folder| folder.join("bin/python3").exists(),
        |folder| {
            say(&format!("fetching {}", packages.join(", ")));
            install(folder, packages)
        },
    )?;
    Ok(folder.join("bin/python3"))
}

/// Makes a virtualenv in its final folder, because it contains its own path.
pub(super) fn install(folder: &Path, packages: &[String]) -> Result<(), DevstackError> {
    let python = python()?;
    if make_venv(&python, folder).is_err() {
        apt_install("python3-venv", "python3-venv")?;
        make_venv(&python, folder)?;
    }
    let mut pip = Command::new(folder.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    run(pip.args(packages)).map(drop)
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

/// The interpreter behind a name on PATH. The name may be a shim that runs nothing, or another version in another folder.
fn interpreter(name: &str) -> Option<PathBuf> {
    let question = "import sys; print(sys.version_info[0], sys.version_info[1], sys.executable)";
    let answer = run(Command::new(on_path(name)?).args(["-c", question])).ok()?;
    let mut words = answer.trim().splitn(3, ' ');
    let (major, minor) = (words.next()?, words.next()?.parse().ok()?);
    (major == "3" && MINORS.contains(&minor)).then(|| words.next().map(PathBuf::from))?
}
