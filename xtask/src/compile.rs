//! One compilation that builds and lints. Clippy's driver is a rustc that also lints, so it takes rustc's place for our
//! own crates (the libraries of others are neither linted nor built a second time). `cargo test` under the same
//! environment finds everything built.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::shell::{self, cargo};

/// Clippy's driver splits this variable here.
const SEPARATOR: &str = "__CLIPPY_HACKERY__";

/// The file names of the test binaries, each with the package whose tests it holds.
pub type TestBinaries = BTreeMap<OsString, String>;

/// A cargo command whose rustc lints too; every warning is an error.
pub fn linting_cargo(arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.env("RUSTC_WORKSPACE_WRAPPER", driver()).env("CLIPPY_ARGS", format!("-Dwarnings{SEPARATOR}"));
    command
}

/// Builds and lints everything: libraries, binaries, tests, benches.
pub fn everything() -> anyhow::Result<TestBinaries> {
    let arguments = ["build", "--workspace", "--all-targets", "--message-format", "json-render-diagnostics"];
    let mut build = linting_cargo(&arguments);
    let output = shell::timed(&mut build, |build| build.stdout(Stdio::piped()).spawn()?.wait_with_output())?;
    if !output.status.success() {
        bail!("the build failed: {}", output.status);
    }
    let messages = String::from_utf8(output.stdout).context("cargo printed a message that is not UTF-8")?;
    Ok(messages.lines().filter_map(test_binary).collect())
}

/// The binary that a message of cargo speaks of, where it holds tests, and its package.
fn test_binary(message: &str) -> Option<(OsString, String)> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let binary = Path::new(message["executable"].as_str()?).file_name()?.to_os_string();
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = folder.strip_prefix(shell::root()).unwrap_or(folder).display().to_string();
    Some((binary, package))
}

/// It lies beside cargo in a toolchain.
fn driver() -> PathBuf {
    let name = format!("clippy-driver{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name(&name));
    beside.filter(|driver| driver.is_file()).unwrap_or_else(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binary_is_known_by_its_package() {
        let manifest = shell::root().join("core/Cargo.toml");
        let message = |test: bool| {
            let artifact = serde_json::json!({
                "profile": { "test": test }, "executable": "/t/deps/suite-01", "manifest_path": manifest,
            });
            test_binary(&artifact.to_string())
        };
        assert_eq!(message(true), Some(("suite-01".into(), "core".to_owned())));
        assert_eq!(message(false), None);
        assert_eq!(test_binary("not JSON"), None);
    }
}
