//! The commands, one file each.

pub mod apply;
pub mod dev;
pub mod get;
pub mod jobs;
pub mod materialize;
pub mod migrate;
pub mod run_jobs;
pub mod status;

use std::io::{ErrorKind, Write};

/// Prints what a command has to say. A reader who has had enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}
