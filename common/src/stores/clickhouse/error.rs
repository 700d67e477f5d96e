//! Errors of ClickHouse, and what to do about each: wait, or look for the row at fault.

use std::time::Duration;

use ::clickhouse::error::Error as DriverError;

/// Why ClickHouse did not do a call.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// The URL does not name ClickHouse's HTTP interface.
    #[error("failed to read the ClickHouse URL: {0}")]
    Url(&'static str),
    /// Not reached, or the connection broke.
    #[error("failed to reach ClickHouse: {0}")]
    Unavailable(String),
    /// Reached, perhaps, but not in time.
    #[error("ClickHouse did not answer within {0:?}")]
    Late(Duration),
    /// It answered with an error.
    #[error("ClickHouse refused: {message}")]
    Refused {
        /// The number of the error.
        code: u32,
        /// The server's message.
        message: String,
    },
    /// An answer that no query of Millrace asks for.
    #[error("unexpected answer from ClickHouse: {0}")]
    Unexpected(String),
    /// A migration that was applied has changed since.
    #[error("migration {0} was applied with another text; add a new one instead of editing it")]
    Edited(String),
    /// Definitions of that number were recorded with another text: the database belongs to another log.
    #[error("definitions {0} are in ClickHouse already, with another text; this database belongs to another log")]
    OtherDefinitions(u32),
}

/// The cause of an error, for the rows that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server is unavailable, slow, full, not set up, or answers with an unknown error. The rows may have arrived.
    Store,
    /// A row may be wrong. It is if its neighbours are accepted.
    Row,
}

/// Errors about values. All other errors are the store's, including the ones that a newer server adds: rows wait until it
/// accepts them. (Numbers as in ClickHouse's `ErrorCodes.cpp`.)
const ROW_CODES: [u32; 26] = [
    6,   // CANNOT_PARSE_TEXT
    25,  // CANNOT_PARSE_ESCAPE_SEQUENCE
    26,  // CANNOT_PARSE_QUOTED_STRING
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    32,  // ATTEMPT_TO_READ_AFTER_EOF
    33,  // CANNOT_READ_ALL_DATA
    36,  // BAD_ARGUMENTS
    38,  // CANNOT_PARSE_DATE
    41,  // CANNOT_PARSE_DATETIME
    53,  // TYPE_MISMATCH
    69,  // ARGUMENT_OUT_OF_BOUND
    70,  // CANNOT_CONVERT_TYPE
    72,  // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA
    128, // TOO_LARGE_ARRAY_SIZE
    131, // TOO_LARGE_STRING_SIZE
    153, // ILLEGAL_DIVISION
    190, // SIZES_OF_ARRAYS_DONT_MATCH
    306, // TOO_DEEP_RECURSION
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    395, // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
    407, // DECIMAL_OVERFLOW
    469, // VIOLATED_CONSTRAINT
    675, // CANNOT_PARSE_IPV4
    676, // CANNOT_PARSE_IPV6
];

/// Errors of a server that is busy, starting or stopping: the same query may succeed later. A query cannot cause them by
/// its text, except for 241 (memory), so retries have an end.
const BUSY_CODES: [u32; 14] = [3, 159, 202, 203, 209, 210, 236, 241, 242, 285, 319, 425, 735, 999];

const SYNTAX_ERROR: u32 = 62;

impl ClickHouseError {
    /// Whether the same query may succeed later: it was not refused, or by a server that is in trouble itself.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Late(_) => true,
            Self::Refused { code, .. } => BUSY_CODES.contains(code),
            Self::Url(_) | Self::Unexpected(_) | Self::Edited(_) | Self::OtherDefinitions(_) => false,
        }
    }

    /// Whether the query is not SQL that the server can parse.
    pub fn is_syntax(&self) -> bool {
        matches!(self, Self::Refused { code: SYNTAX_ERROR, .. })
    }

    /// The cause of the error, for rows that were sent.
    pub fn fault(&self) -> Fault {
        match self {
            // One block across too many months. Fewer rows at a time succeed.
            Self::Refused { code: 252, message } if message.contains("Too many partitions for single INSERT") => {
                Fault::Row
            }
            Self::Refused { code, .. } if ROW_CODES.contains(code) => Fault::Row,
            Self::Refused { .. }
            | Self::Unavailable(_)
            | Self::Late(_)
            | Self::Url(_)
            | Self::Unexpected(_)
            | Self::Edited(_)
            | Self::OtherDefinitions(_) => Fault::Store,
        }
    }

    /// Its label in metrics and logs: ClickHouse's number, or a word where it gave none.
    pub fn code(&self) -> String {
        match self {
            Self::Refused { code, .. } => code.to_string(),
            Self::Late(_) => "late".to_owned(),
            Self::Unavailable(_) => "away".to_owned(),
            Self::Url(_) | Self::Unexpected(_) | Self::Edited(_) | Self::OtherDefinitions(_) => "unexpected".to_owned(),
        }
    }
}

impl From<DriverError> for ClickHouseError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::TimedOut => Self::Late(Duration::ZERO),
            DriverError::BadResponse(message) => match code_of(&message) {
                Some(code) => Self::Refused { code, message: first_line(&message) },
                None => Self::Unavailable(first_line(&message)),
            },
            DriverError::Network(_) => Self::Unavailable(chain(&error)),
            other => Self::Unexpected(chain(&other)),
        }
    }
}

/// The number in `Code: 60. DB::Exception: …`.
fn code_of(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("Code: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(1_000).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(message: &str) -> Fault {
        ClickHouseError::from(DriverError::BadResponse(message.into())).fault()
    }

    #[test]
    fn a_wrong_row_is_told_from_a_server_in_trouble() {
        assert_eq!(fault("Code: 117. DB::Exception: Cannot parse JSON object"), Fault::Row);
        assert_eq!(fault("Code: 469. DB::Exception: Constraint"), Fault::Row);
        assert_eq!(fault("Code: 241. DB::Exception: Memory limit exceeded"), Fault::Store);
        assert_eq!(fault("Code: 60. DB::Exception: Unknown table"), Fault::Store);
        assert_eq!(fault("Code: 252. DB::Exception: Too many parts (3000)"), Fault::Store);
        assert_eq!(fault("Code: 252. DB::Exception: Too many partitions for single INSERT block"), Fault::Row);
        assert_eq!(fault("Code: 777. DB::Exception: new in some version"), Fault::Store);
        for code in [243, 497, 242, 164, 16, 44] {
            assert_eq!(fault(&format!("Code: {code}. DB::Exception: disk, rights, read-only, columns")), Fault::Store);
        }
        assert_eq!(fault("502 Bad Gateway"), Fault::Store);
        assert_eq!(ClickHouseError::Late(Duration::ZERO).fault(), Fault::Store);
    }
}
