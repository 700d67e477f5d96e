//! Chromium, for tests of pages: Debian's package where absent.

use std::path::PathBuf;

use crate::error::DevstackError;
use crate::tools::command::on_path_or_apt;

/// Arguments for a browser without a screen. It runs without a sandbox, because the tests may run as root, so it must open only
/// pages of the tests.
pub const HEADLESS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// `chromium`, installed if it is not there (100 MB).
pub fn browser() -> Result<PathBuf, DevstackError> {
    on_path_or_apt("chromium", "chromium")
}
