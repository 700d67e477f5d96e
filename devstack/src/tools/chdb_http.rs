//! The `chdb-http` binary: beside the running program, or built by cargo when the program runs from a checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::error::DevstackError;
use crate::tools::command::run;
use crate::tools::say;

const NAME: &str = "chdb-http";

/// The binary's path. `MILLRACE_CHDB_HTTP` overrides the search.
pub fn binary() -> Result<PathBuf, DevstackError> {
    if let Some(path) = std::env::var_os("MILLRACE_CHDB_HTTP").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(|folder| folder.join("Cargo.toml").is_file());
    let beside = program_folder()?;
    let candidate = beside.join(NAME);
    match workspace {
        _ if candidate.is_file() && !is_stale(&candidate) => Ok(candidate),
        Some(workspace) => build(workspace, &beside),
        None => Err(DevstackError::Missing {
            tool: NAME,
            advice: "put it beside this program (`cargo build -p chdb-http`), or set MILLRACE_CHDB_HTTP".to_owned(),
        }),
    }
}

/// The folder of the running program; for cargo's tests and examples, the folder above it.
fn program_folder() -> Result<PathBuf, DevstackError> {
    let program = std::env::current_exe().map_err(DevstackError::file("the running program"))?;
    let folder = program.parent().unwrap_or(Path::new("."));
    let inner = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
    Ok(if inner { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

/// Whether the sources are newer than the binary. False without a checkout.
fn is_stale(binary: &Path) -> bool {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME);
    let newest = [sources.join("Cargo.toml")]
        .into_iter()
        .chain(files(&sources.join("src")))
        .filter_map(|file| modified(&file))
        .max();
    newest > modified(binary)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|data| data.modified()).ok()
}

/// Builds into the target folder and profile that the running program came from.
fn build(workspace: &Path, beside: &Path) -> Result<PathBuf, DevstackError> {
    let (target, profile) = match (beside.parent(), beside.file_name().and_then(|name| name.to_str())) {
        (Some(target), Some(profile)) if beside.join("deps").is_dir() => (target.to_owned(), profile),
        _ => (workspace.join("target"), "debug"),
    };
    let profile_flag = if profile == "debug" { "dev" } else { profile };
    say("building chdb-http");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", NAME, "--profile", profile_flag, "--target-dir"]).arg(&target);
    run(cargo.current_dir(workspace))?;
    Ok(target.join(profile).join(NAME))
}
