//! Computes a mapping's expressions over the rows of its file. Errors name the file, the row and the field.

use millrace_core::expr::{EvalError, ExprValue};

use crate::replay::error::ReplayError;
use crate::replay::join::LookupTable;
use crate::replay::mapping::{MappedField, Mapping, TimeSource};
use crate::replay::row::JoinedRow;

/// A mapping with its tables.
pub struct MappedRows<'m> {
    pub mapping: &'m Mapping,
    pub tables: &'m [LookupTable],
}

/// A row's time, epoch ms, and its number in the file: the order of one mapping's events.
pub type RowTime = (i64, u64);

/// When an event happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// At this time, epoch ms.
    Own(i64),
    /// At the start of the replayed span, which is known once all rows are read.
    SpanStart,
}

impl EventTime {
    /// The event's own time.
    pub fn own(self) -> Option<i64> {
        match self {
            Self::Own(time) => Some(time),
            Self::SpanStart => None,
        }
    }
}

impl MappedRows<'_> {
    /// Finds the rows that the joins add to a row, and works on them together.
    pub fn with_joins<T>(
        &self,
        number: u64,
        columns: &[ExprValue],
        work: impl FnOnce(JoinedRow<'_>) -> Result<T, ReplayError>,
    ) -> Result<T, ReplayError> {
        let own = JoinedRow { number, columns, joined: &[] };
        let mut joined = Vec::with_capacity(self.tables.len());
        for (table, join) in self.tables.iter().zip(&self.mapping.joins) {
            let found = table.find(&join.key_values, own);
            joined.push(found.map_err(|error| self.join_error(own, &join.alias, &error))?);
        }
        work(JoinedRow { joined: &joined, ..own })
    }

    /// The event's time; None when the filter leaves the row out.
    pub fn time(&self, row: JoinedRow<'_>) -> Result<Option<EventTime>, ReplayError> {
        if let Some(filter) = &self.mapping.filter
            && !filter.expression.holds(&row).map_err(|error| self.error(row, filter, &error.to_string()))?
        {
            return Ok(None);
        }
        let TimeSource::Computed(field) = &self.mapping.time else { return Ok(Some(EventTime::SpanStart)) };
        match self.eval(row, field)? {
            ExprValue::Time(time) => Ok(Some(EventTime::Own(time))),
            ExprValue::Null => {
                Err(self.error(row, field, "is null; leave such rows out with `filter: not is_null(…)`"))
            }
            other => Err(self.error(row, field, &format!("is {}; make it a time with time(…)", other.kind()))),
        }
    }

    /// The value of a field.
    pub fn eval(&self, row: JoinedRow<'_>, field: &MappedField) -> Result<ExprValue, ReplayError> {
        field.expression.eval(&row).map_err(|error| self.error(row, field, &error.to_string()))
    }

    /// The error for a field that has no good value in this row.
    pub fn error(&self, row: JoinedRow<'_>, field: &MappedField, message: &str) -> ReplayError {
        ReplayError::Row {
            path: self.mapping.file.path.clone(),
            row: row.number,
            field: field.name.clone(),
            expression: field.text.clone(),
            message: message.to_owned(),
        }
    }

    fn join_error(&self, row: JoinedRow<'_>, alias: &str, error: &EvalError) -> ReplayError {
        let (path, row) = (self.mapping.file.path.clone(), row.number);
        ReplayError::Read { path, row, message: format!("join `{alias}`: {error}") }
    }
}
