//! Errors, with ClickHouse's own error codes and the HTTP status that ClickHouse answers for each.

use std::path::PathBuf;

/// A query that failed, as ClickHouse would report it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// ClickHouse's error code.
    pub code: u32,
    /// `Code: N. DB::Exception: …`, in one line.
    pub message: String,
}

/// The engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The shared library is missing, damaged or of another kind.
    #[error("failed to load {path}: {source}")]
    Library {
        /// The library.
        path: PathBuf,
        /// The loader's reason.
        source: libloading::Error,
    },
    /// A path that a C string cannot hold.
    #[error("path contains a zero byte: {0}")]
    Path(PathBuf),
    /// The engine refused the data folder; it says why on stderr.
    #[error("the engine did not open {0}: another process may be using that folder")]
    Connect(PathBuf),
    /// The engine opened but does not answer.
    #[error("the engine does not answer: {0}")]
    Answer(#[from] QueryError),
}

impl QueryError {
    /// An error of this server rather than of the engine.
    pub fn new(code: u32, name: &str, text: impl std::fmt::Display) -> Self {
        let message = format!("Code: {code}. DB::Exception: {text}. ({name})");
        Self { code, message }
    }

    /// Reads the engine's text, which repeats `Code: N. DB::Exception: ` for every layer that it passed.
    pub fn from_engine(text: &str) -> Self {
        let Some(code) = code_of(text) else {
            return Self::new(1001, "STD_EXCEPTION", text);
        };
        let prefix = format!("Code: {code}. DB::Exception: ");
        let mut inner = text;
        while let Some(rest) = inner.strip_prefix(&prefix) {
            inner = rest;
        }
        let inner = inner.split(" (version ").next().unwrap_or(inner);
        Self { code, message: format!("{prefix}{inner}") }
    }

    pub(crate) fn syntax(text: impl std::fmt::Display) -> Self {
        Self::new(62, "SYNTAX_ERROR", format!("Syntax error: {text}"))
    }

    pub(crate) fn not_implemented(text: impl std::fmt::Display) -> Self {
        Self::new(48, "NOT_IMPLEMENTED", text)
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        Self::new(229, "QUERY_IS_TOO_LARGE", format!("the request is larger than {limit} bytes"))
    }

    pub(crate) fn network(text: impl std::fmt::Display) -> Self {
        Self::new(210, "NETWORK_ERROR", format!("failed to read the request body: {text}"))
    }

    pub(crate) fn file(text: impl std::fmt::Display) -> Self {
        Self::new(75, "CANNOT_WRITE_TO_FILE_DESCRIPTOR", format!("failed to keep the request body: {text}"))
    }

    /// The HTTP status of ClickHouse for this code (its `exceptionCodeToHTTPStatus`).
    pub fn status(&self) -> u16 {
        match self.code {
            194 => 401,
            192 | 193 | 497 | 512 | 516 => 403,
            6 | 8 | 15 | 25 | 26 | 27 | 36 | 37 | 38 | 41 | 44 | 53 | 62 | 72 | 117 | 123 | 167 | 168 => 400,
            223 | 321 | 376 | 427 | 441 | 675 | 676 => 400,
            46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 511 => 404,
            159 => 408,
            381 => 411,
            229 => 413,
            48 => 501,
            76 | 209 | 439 => 503,
            _ => 500,
        }
    }
}

fn code_of(text: &str) -> Option<u32> {
    text.strip_prefix("Code: ")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_the_engines_message_are_folded() {
        let error = QueryError::from_engine(
            "Code: 33. DB::Exception: Code: 33. DB::Exception: Cannot read all data. \
             (CANNOT_READ_ALL_DATA) (version 26.5.1.1). (CANNOT_READ_ALL_DATA)",
        );
        assert_eq!(error.code, 33);
        assert_eq!(error.message, "Code: 33. DB::Exception: Cannot read all data. (CANNOT_READ_ALL_DATA)");
    }

    #[test]
    fn statuses_are_those_of_clickhouse() {
        let status = |code| QueryError::new(code, "X", "x").status();
        assert_eq!([62, 60, 115, 252, 48, 229].map(status), [400, 404, 404, 500, 501, 413]);
    }
}
