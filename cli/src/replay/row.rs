//! A row of a source file with the rows that joins found for it, as expressions read it.

use millrace_core::expr::{ExprRow, ExprValue};

use super::error::ReplayError;

/// Takes each row of a file: its number, from 1, and the wanted columns.
pub type RowVisitor<'v> = &'v mut dyn FnMut(u64, &[ExprValue]) -> Result<(), ReplayError>;

/// Where an expression finds a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRef {
    /// In the row itself.
    Own {
        /// Index of the column.
        column: usize,
    },
    /// In a joined table.
    Joined {
        /// Index of the join.
        join: usize,
        /// Index of the table's column.
        column: usize,
    },
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct JoinedRow<'r> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its own columns.
    pub columns: &'r [ExprValue],
    /// For each join the row that it found; empty when it found none.
    pub joined: &'r [&'r [ExprValue]],
}

impl ExprRow<ColumnRef> for JoinedRow<'_> {
    fn column(&self, column: &ColumnRef) -> &ExprValue {
        let found = match *column {
            ColumnRef::Own { column } => self.columns.get(column),
            ColumnRef::Joined { join, column } => self.joined.get(join).and_then(|row| row.get(column)),
        };
        found.unwrap_or(&ExprValue::Null)
    }

    fn number(&self) -> u64 {
        self.number
    }
}
