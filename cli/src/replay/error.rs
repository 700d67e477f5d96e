//! Everything that ends a replay: each names the file, the row and column where there is one, and what to do.

use std::path::PathBuf;

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file that cannot be opened or written.
    #[error("failed to open {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A mistake in a mapping.
    #[error("{}, line {line}: {message}", path.display())]
    Mapping {
        /// The mapping file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The mistake.
        message: String,
    },
    /// A column that the file does not have.
    #[error("{} has no column `{column}`; it has {available}", path.display())]
    NoColumn {
        /// The data file.
        path: PathBuf,
        /// What the mapping asks for.
        column: String,
        /// What there is.
        available: String,
    },
    /// A file that cannot be read on.
    #[error("failed to read {}, row {row}: {message}", path.display())]
    Read {
        /// The data file.
        path: PathBuf,
        /// The row, from 1.
        row: u64,
        /// Why.
        message: String,
    },
    /// A row that makes no event.
    #[error("{}, row {row}: `{field}: {expression}`: {message}", path.display())]
    Row {
        /// The data file.
        path: PathBuf,
        /// The row, from 1.
        row: u64,
        /// The mapping's field.
        field: String,
        /// What the mapping says there.
        expression: String,
        /// Why it has no good value.
        message: String,
    },
    /// Options that do not go together with these mappings.
    #[error("{0}")]
    Options(String),
    /// Ingest answered what no retry cures.
    #[error("ingest at {url} refused a batch: {message}")]
    Refused {
        /// Where.
        url: String,
        /// Its answer.
        message: String,
    },
    /// Ingest did not take a batch in time. Later its ids would no longer be known, and it would count twice.
    #[error("gave up on {url} after {seconds} s: {message}")]
    GaveUp {
        /// Where.
        url: String,
        /// How long one batch was tried.
        seconds: u64,
        /// The last failure.
        message: String,
    },
    /// Everything was sent, and some events were refused.
    #[error("{rejected} of {sent} events were rejected; see them all with --rejects FILE")]
    Rejected {
        /// How many.
        rejected: u64,
        /// Of how many.
        sent: u64,
    },
}

impl ReplayError {
    /// For `map_err` on file operations.
    pub fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}
