//! The same definitions as SQL for ClickHouse: columns and views of the event types, and a SELECT that computes any
//! feature at an instant `t` from the events. Text and its parameters only; sending it is `millrace_common`'s.
//!
//! `batch` runs a batch view's own query, `events` knows the tables, `inputs` how a property is read exactly, `features` folds, `decode` gives the values
//! the form that the online path gives them. Keys, times and names of events travel as parameters; what is spliced
//! into the text is quoted here.

mod batch;
mod decode;
mod events;
mod features;
mod inputs;

pub use batch::{
    BATCH_FORMAT, BATCH_SETTINGS, BatchColumn, BatchColumns, batch_columns, batch_count, batch_parse, batch_rows,
};
pub use decode::{FeatureRow, decode, decode_key};
pub use events::{COLUMNS, KeyColumn, TABLES, apply, key_columns};
pub use features::{Known, Scope, features};

/// The settings of each query over events that this module writes. Copies of one entry have the same position, hence
/// the same month, so `FINAL` need not merge across partitions. They also have the same sorting key. With `FINAL`,
/// ClickHouse moves only conditions on the sorting key to `PREWHERE`; these keep all copies or none, and the other
/// columns are then read from few rows. By default, `toFloat64` may be off by the last bit.
const SETTINGS: &str = "do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1, \
    precise_float_parsing = 1";

/// A statement and what it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlQuery {
    /// With placeholders `{name:Type}`.
    pub text: String,
    /// Their values.
    pub params: Vec<(String, Param)>,
}

/// The value of a placeholder.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// `Int64`.
    Int(i64),
    /// `String`.
    Text(String),
    /// `Array(Int64)`.
    Ints(Vec<i64>),
    /// `Array(UInt64)`, or a narrower unsigned type.
    Unsigned(Vec<u64>),
    /// `Array(String)`.
    Texts(Vec<String>),
}

/// A name in quotes, in which no character has a meaning of its own.
pub fn quote_name(name: &str) -> String {
    quoted(name, '`')
}

/// A text literal.
pub fn quote_text(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            '\n' => quoted.push_str("\\n"),
            c if c == quote => {
                quoted.push('\\');
                quoted.push(c);
            }
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_own_quotes() {
        assert_eq!(quote_name("a`; DROP TABLE x"), "`a\\`; DROP TABLE x`");
        assert_eq!(quote_name("a\\"), "`a\\\\`");
        assert_eq!(quote_text("it's"), "'it\\'s'");
    }
}
