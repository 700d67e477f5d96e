//! `cargo xtask lint` and `cargo xtask shape`: format, clippy, and the program in `xtask/lint`, which reads the source.
//! That program is a workspace of its own, so each of cargo's commands runs for it, too.

use crate::compile::linting_cargo;
use crate::shell::{cargo, exec};

const OWN_WORKSPACE: [&str; 4] = ["--manifest-path", "xtask/lint/Cargo.toml", "--target-dir", "target/lint"];

/// Format and all lints, without a build that could run.
pub fn run() -> anyhow::Result<()> {
    format()?;
    rules()?;
    exec(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Fails where rustfmt would change a file.
pub fn format() -> anyhow::Result<()> {
    exec(&mut cargo(&["fmt", "--all", "--check"]))?;
    exec(&mut cargo(&["fmt", "--manifest-path", OWN_WORKSPACE[1], "--check"]))
}

/// Fails where the source breaks a rule. The program of the rules is linted and tested first.
pub fn rules() -> anyhow::Result<()> {
    exec(linting_cargo(&["test", "--quiet"]).args(OWN_WORKSPACE))?;
    exec(linting_cargo(&["run", "--quiet"]).args(OWN_WORKSPACE).args(["--", "check"]))
}

/// Prints figures about the source.
pub fn shape(brief: bool) -> anyhow::Result<()> {
    let brief = brief.then_some("--brief");
    exec(linting_cargo(&["run", "--quiet"]).args(OWN_WORKSPACE).args(["--", "shape"]).args(brief))
}
