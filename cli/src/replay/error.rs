//! The errors that end a replay. An error in a file names the file, and the line, row or column if it is known.

use std::path::{Path, PathBuf};

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file cannot be opened, created or written.
    #[error("failed to open {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A mapping file has a mistake.
    #[error("{}, line {line}: {message}", path.display())]
    Mapping {
        /// The mapping file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The mistake.
        message: String,
    },
    /// A data file lacks a column that its mapping reads.
    #[error("{} has no column `{column}`; it has {available}", path.display())]
    NoColumn {
        /// The data file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns that the file has.
        available: String,
    },
    /// No row of a file can be read, for example because it is not Parquet or its CSV header is broken.
    #[error("failed to read {}: {message}", path.display())]
    Content {
        /// The data file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
    /// A row cannot be read, or its join fails.
    #[error("failed to read {}, row {row}: {message}", path.display())]
    Read {
        /// The data file.
        path: PathBuf,
        /// The row, from 1. A CSV header is not counted. In NDJSON it is the line.
        row: u64,
        /// The reason.
        message: String,
    },
    /// A row was read, but cannot become an event.
    #[error("{}, row {row}: `{field}: {expression}`: {message}", path.display())]
    Row {
        /// The data file.
        path: PathBuf,
        /// The row, counted as in `Read`.
        row: u64,
        /// The field of the mapping, such as `time`, or the name of a key or a property.
        field: String,
        /// The expression of that field.
        expression: String,
        /// Why the expression has no usable value.
        message: String,
    },
    /// The options are wrong, or do not fit the mappings. Also a failure of this process: it cannot make an HTTP
    /// client, or a task of it has crashed.
    #[error("{0}")]
    Options(String),
    /// Ingest refused a batch, and a retry cannot cure the reason.
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
    /// Everything was sent, and ingest rejected some of the events.
    #[error("{rejected} of {sent} events were rejected; see them all with --rejects FILE")]
    Rejected {
        /// Number of rejected events.
        rejected: u64,
        /// Number of events that ingest replied to, including the rejected ones.
        sent: u64,
    },
}

impl ReplayError {
    /// The error of a file operation, for `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    /// The error of a file of which no row can be read.
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
