//! Everything that ends a replay. Each error names the file, the row and the column if there is one, and what to do.

use std::path::{Path, PathBuf};

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file that cannot be opened or written.
    #[error("failed to open {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
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
        /// The column that the mapping reads.
        column: String,
        /// The columns of the file.
        available: String,
    },
    /// A file whose content cannot be read at all.
    #[error("failed to read {}: {message}", path.display())]
    Content {
        /// The data file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
    /// A row that cannot be read.
    #[error("failed to read {}, row {row}: {message}", path.display())]
    Read {
        /// The data file.
        path: PathBuf,
        /// The row, from 1.
        row: u64,
        /// The reason.
        message: String,
    },
    /// A row that cannot become an event.
    #[error("{}, row {row}: `{field}: {expression}`: {message}", path.display())]
    Row {
        /// The data file.
        path: PathBuf,
        /// The row, from 1.
        row: u64,
        /// The mapping's field.
        field: String,
        /// The mapping's expression.
        expression: String,
        /// Why the expression has no usable value.
        message: String,
    },
    /// Options that do not fit these mappings.
    #[error("{0}")]
    Options(String),
    /// Ingest refused a batch in a way that a retry cannot cure.
    #[error("ingest at {url} refused a batch: {message}")]
    Refused {
        /// The address of ingest.
        url: String,
        /// Its answer.
        message: String,
    },
    /// Ingest did not take a batch in time. Later, resent ids are not recognized any more, and events would count twice.
    #[error("gave up on {url} after {seconds} s: {message}")]
    GaveUp {
        /// The address of ingest.
        url: String,
        /// How long the batch was tried.
        seconds: u64,
        /// The last failure.
        message: String,
    },
    /// Everything was sent, and some events were refused.
    #[error("{rejected} of {sent} events were rejected; see them all with --rejects FILE")]
    Rejected {
        /// Number of rejected events.
        rejected: u64,
        /// Number of events sent.
        sent: u64,
    },
}

impl ReplayError {
    /// The error of a file operation, for `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    /// The error of a file whose content cannot be read at all.
    pub fn file_content(path: &Path, message: String) -> Self {
        Self::Content { path: path.to_owned(), message }
    }

    /// The error of a row that cannot be read.
    pub fn row_content(path: &Path, row: u64, message: String) -> Self {
        Self::Read { path: path.to_owned(), row, message }
    }

    /// The error of a column that the file does not have.
    pub fn no_column(path: &Path, column: &str, available: &[String]) -> Self {
        Self::NoColumn { path: path.to_owned(), column: column.to_owned(), available: available.join(", ") }
    }
}
