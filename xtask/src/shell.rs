//! Runs other programs: says what it runs before, and how long it took after.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Runs a command in the foreground. Anything but success is an error.
pub fn exec(command: &mut Command) -> anyhow::Result<()> {
    let text = describe(command);
    let status = timed(command, Command::status)?;
    if status.success() { Ok(()) } else { bail!("`{text}` failed: {status}") }
}

/// Runs a command as `run` does, and says on standard error what is run and how long it took.
pub fn timed<T>(command: &mut Command, run: impl FnOnce(&mut Command) -> std::io::Result<T>) -> anyhow::Result<T> {
    let text = describe(command);
    eprintln!("xtask: {text}");
    let started = Instant::now();
    let ended = run(command).with_context(|| format!("failed to run `{text}`"))?;
    eprintln!("xtask: done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(ended)
}

/// Cargo, the same one that runs this program.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

fn describe(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
