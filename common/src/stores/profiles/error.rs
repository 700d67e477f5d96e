//! Errors of MongoDB, and whether the same call may succeed later.

use std::time::Duration;

use mongodb::error::ErrorKind;

/// Why MongoDB did not do a call.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The URL is not a MongoDB URL.
    #[error("failed to read the MongoDB URL: {0}")]
    Url(String),
    /// Not reached, or the connection broke.
    #[error("failed to reach the profiles: {0}")]
    Unavailable(String),
    /// It answered with an error.
    #[error("the profiles refused: error {code}: {message}")]
    Refused {
        /// The number of the error.
        code: i32,
        /// The server's message.
        message: String,
    },
    /// Reached, perhaps, but not in time.
    #[error("the profiles did not answer within {0:?}")]
    Late(Duration),
    /// An answer that no version of Millrace writes.
    #[error("unexpected answer from the profiles: {0}")]
    Unexpected(String),
    /// A migration that was applied has changed since.
    #[error("migration {0} was applied with another text; add a new one instead of editing it")]
    Edited(String),
}

/// Errors that stay until somebody changes the view, the collection or the rights. All others may pass, including the
/// ones that a newer server adds. (Numbers as in MongoDB's `error_codes.yml`.)
const LASTING_CODES: [i32; 14] = [
    2,   // BadValue
    9,   // FailedToParse
    13,  // Unauthorized
    14,  // TypeMismatch
    18,  // AuthenticationFailed
    59,  // CommandNotFound
    67,  // CannotCreateIndex
    72,  // InvalidOptions
    73,  // InvalidNamespace
    85,  // IndexOptionsConflict
    86,  // IndexKeySpecsConflict
    166, // CommandNotSupportedOnView
    171, // CannotIndexParallelArrays
    197, // InvalidIndexSpecificationOption
];

impl ProfileError {
    /// Whether the same call may succeed later, without anybody's help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Late(_) => true,
            Self::Refused { code, .. } => !LASTING_CODES.contains(code),
            Self::Url(_) | Self::Unexpected(_) | Self::Edited(_) => false,
        }
    }
}

/// The driver's error in short. For a server that it cannot find, the driver prints all that it knows, which is a
/// different text each time and not for readers.
impl From<mongodb::error::Error> for ProfileError {
    fn from(error: mongodb::error::Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Command(refused) => Self::Refused { code: refused.code, message: refused.message.clone() },
            ErrorKind::ServerSelection { .. } => Self::Unavailable("no usable server was found in time".to_owned()),
            ErrorKind::Io(error) => Self::Unavailable(error.to_string()),
            kind => Self::Unavailable(kind.to_string()),
        }
    }
}
