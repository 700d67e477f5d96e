//! Redis: `redis-server`, Debian's package where absent.
//!
//! A service that the package manager starts by itself is not used: devstack's server has its own port and folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::DevstackError;
use crate::tools::command::{on_path_or_apt, run};

/// Functions, on which Millrace is built, came with this version.
const LEAST_MAJOR: u32 = 7;

/// `redis-server` and its version.
pub fn server() -> Result<(PathBuf, String), DevstackError> {
    let program = on_path_or_apt("redis-server", "redis-server")?;
    let version = version(&program)?;
    let major: u32 = version.split('.').next().and_then(|part| part.parse().ok()).unwrap_or(0);
    if major < LEAST_MAJOR {
        let advice = format!("{version} is installed and {LEAST_MAJOR}.0 is needed; install it, or set REDIS_URL");
        return Err(DevstackError::Missing { tool: "Redis", advice });
    }
    Ok((program, version))
}

/// From `Redis server v=7.0.15 sha=00000000:0 …`.
fn version(program: &Path) -> Result<String, DevstackError> {
    let text = run(Command::new(program).arg("--version"))?;
    let version = text.split_ascii_whitespace().find_map(|word| word.strip_prefix("v="));
    Ok(version.unwrap_or("0").to_owned())
}
