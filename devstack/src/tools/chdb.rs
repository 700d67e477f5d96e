//! ClickHouse's engine as a library, from an npm package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::DevstackError;
use crate::tools::command::{on_path_or_apt, run};
use crate::tools::{cached, say};

/// The package's version; it carries ClickHouse 26.5.
pub const VERSION: &str = "26.5.3";

/// The path of `libchdb.so`, fetched if it is not in the cache (170 MB to download, 560 MB on disk).
pub fn library() -> Result<PathBuf, DevstackError> {
    let name = format!("libchdb-{VERSION}-{}", std::env::consts::ARCH);
    let folder = cached(&name, |folder| file(folder).is_file(), fetch)?;
    Ok(file(&folder))
}

fn file(folder: &Path) -> PathBuf {
    folder.join("libchdb.so")
}

fn fetch(folder: &Path) -> Result<(), DevstackError> {
    let package = format!("{}@{VERSION}", package()?);
    let npm = on_path_or_apt("npm", "npm")?;
    say(&format!("fetching {package} (170 MB, 560 MB unpacked)"));
    let scratch = tempfile::tempdir_in(folder).map_err(DevstackError::file(folder))?;
    let cache = scratch.path().join("npm");
    let mut pack = Command::new(npm);
    pack.args(["pack", "--silent", "--cache"]).arg(&cache).arg(&package).current_dir(scratch.path());
    let printed = run(&mut pack)?;
    let archive = printed.lines().rfind(|line| line.ends_with(".tgz")).unwrap_or_default();
    say(&format!("unpacking {archive}"));
    let mut unpack = Command::new("tar");
    unpack.args(["-xzf", archive, "package/libchdb.so"]).current_dir(scratch.path());
    run(&mut unpack)?;
    let unpacked = scratch.path().join("package/libchdb.so");
    fs::rename(&unpacked, file(folder)).map_err(DevstackError::file(unpacked))
}

fn package() -> Result<&'static str, DevstackError> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("@chdb/lib-linux-x64-gnu"),
        ("linux", "aarch64") => Ok("@chdb/lib-linux-arm64-gnu"),
        (system, machine) => Err(DevstackError::Missing {
            tool: "libchdb",
            advice: format!("devstack has none for {machine} {system}; set CLICKHOUSE_URL to a running server"),
        }),
    }
}
