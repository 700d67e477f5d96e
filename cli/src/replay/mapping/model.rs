//! A checked mapping: how the events of one source file are made.

use millrace_core::expr::Expr;

use crate::replay::reader::SourceFile;
use crate::replay::row::ColumnRef;

/// A checked mapping.
#[derive(Debug)]
pub struct Mapping {
    /// Its name in reports. Event ids begin with it when the mapping gives no `id`.
    pub name: String,
    /// The rows.
    pub file: SourceFile,
    /// The rows' own columns that any expression reads; those of `time` and `filter` come first.
    pub columns: Vec<String>,
    /// How many of the columns are enough to compute a row's time: all of them when that needs a join.
    pub columns_for_time: usize,
    /// The event type.
    pub event: String,
    /// The event's `source`.
    pub source: Option<String>,
    /// Its time.
    pub time: TimeSource,
    /// Its id. It is stable, so that a resend is recognized.
    pub id: MappedField,
    /// The condition that a row must meet; None keeps all rows.
    pub filter: Option<MappedField>,
    /// Its entity keys. Events with the same first key are sent in order.
    pub keys: Vec<MappedField>,
    /// Its properties.
    pub properties: Vec<MappedField>,
    /// The tables that its expressions read.
    pub joins: Vec<Join>,
}

/// Where an event's time comes from.
#[derive(Debug)]
pub enum TimeSource {
    /// An expression.
    Computed(MappedField),
    /// The start of the replayed span, for facts that hold from before the first event.
    SpanStart,
}

/// One field of an event.
#[derive(Debug)]
pub struct MappedField {
    /// Its name.
    pub name: String,
    /// The expression as the mapping has it.
    pub text: String,
    /// The same expression, ready to compute.
    pub expression: Expr<ColumnRef>,
}

/// A small table held in memory.
#[derive(Debug)]
pub struct Join {
    /// The name that its columns are read under: `products` in `products.department`.
    pub alias: String,
    /// Its rows.
    pub file: SourceFile,
    /// The columns that any expression reads.
    pub columns: Vec<String>,
    /// The columns of the table that make its key.
    pub key_columns: Vec<String>,
    /// The value of the row that each of them equals.
    pub key_values: Vec<MappedField>,
}
