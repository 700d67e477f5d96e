//! Why a text is not an expression, and why an expression has no value for a row.

/// Why a text is not an expression.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExprError {
    /// The text has one token where the grammar needs another.
    #[error("expected {expected}, found {found} in `{text}`")]
    Unexpected {
        /// The tokens that can come there, in words.
        expected: &'static str,
        /// The token that was found, in backticks, or `the end`.
        found: String,
        /// The whole expression.
        text: String,
    },
    /// A name before `(` that is not a function.
    #[error("no function `{0}`; there is concat, coalesce, is_null, int, decimal, text, time")]
    NoFunction(String),
    /// A function with the wrong arguments. The text shows the right ones.
    #[error("{0}")]
    Arguments(&'static str),
}

/// Why an expression has no value for a row.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EvalError {
    /// A number with a fraction where an integer is expected.
    #[error("`{0}` is not a whole number; round it with decimal(…, 0), or leave the row out with `filter`")]
    NotWhole(String),
    /// A value that cannot become a number.
    #[error("`{0}` is not a number; leave the row out with `filter`")]
    NotANumber(String),
    /// A value that cannot be read as a time.
    #[error("`{0}` is not a time; give its format, such as time(…, '%d/%m/%Y %H:%M')")]
    NotATime(String),
    /// Floats have no exact arithmetic.
    #[error("arithmetic is exact and takes no float; cast it first, such as decimal(…, 2)")]
    Float,
    /// Two kinds that an operator does not take together.
    #[error("cannot {doing} {left} and {right}")]
    Kinds {
        /// The verb.
        doing: &'static str,
        /// The left kind.
        left: &'static str,
        /// The right kind.
        right: &'static str,
    },
    /// Another value where true or false is expected.
    #[error("expected true or false, got {0}")]
    NotABool(&'static str),
    /// More digits than a number can hold.
    #[error("the result has too many digits")]
    TooLarge,
}
