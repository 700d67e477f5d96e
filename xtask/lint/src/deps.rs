//! The direction of dependencies, checked: `core ← common ← binaries, cli ← e2e, bench`; binaries never depend on
//! each other; only `common` and `devstack` know a store's driver (tests and benches may, to look from outside).

use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

const DRIVERS: [&str; 3] = ["redis", "mongodb", "clickhouse"];
const MAY_DRIVE: [&str; 4] = ["millrace-common", "millrace-devstack", "millrace-e2e", "millrace-bench"];
const IMPURE: [&str; 6] = ["tokio", "reqwest", "axum", "redis", "mongodb", "clickhouse"];
const BINARIES: [&str; 4] =
    ["millrace-ingest", "millrace-online-consumer", "millrace-offline-consumer", "millrace-feature-server"];

/// Fails with every arrow that points the wrong way.
pub fn check() -> anyhow::Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo.args(["metadata", "--format-version", "1", "--no-deps"]).output().context("cargo metadata")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed something that is not JSON")?;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        // Tests may look from outside: their dependencies are not checked.
        for dependency in dependencies.filter(|dependency| dependency["kind"] != "dev") {
            let on = dependency["name"].as_str().unwrap_or_default();
            if let Some(reason) = forbidden(name, on) {
                wrong.push(format!("{name} → {on}: {reason}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("dependencies point the wrong way:\n{}", wrong.join("\n")) }
}

fn forbidden(package: &str, on: &str) -> Option<&'static str> {
    if package == "millrace-core" && (IMPURE.contains(&on) || on.starts_with("millrace-")) {
        return Some("core is pure: it uses no runtime, no driver and no other crate of the workspace");
    }
    if DRIVERS.contains(&on) && !MAY_DRIVE.contains(&package) {
        return Some("only common and devstack know a store's driver");
    }
    let binary = BINARIES.contains(&on);
    if binary && !["millrace-e2e", "millrace-bench"].contains(&package) {
        return Some("binaries never depend on each other");
    }
    None
}
