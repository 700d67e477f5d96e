//! The small tables that rows are joined with, held in memory.

use std::collections::HashMap;

use millrace_core::expr::{EvalError, ExprValue};

use super::error::ReplayError;
use super::mapping::{Join, MappedField};
use super::row::JoinedRow;

/// One loaded table.
#[derive(Debug)]
pub struct LookupTable {
    rows: HashMap<String, Box<[ExprValue]>>,
}

impl LookupTable {
    /// Reads the table. A key that comes twice is an error, because either row could be meant.
    pub fn load(join: &Join) -> Result<Self, ReplayError> {
        let columns = distinct(join.key_columns.iter().chain(&join.columns));
        let mut rows: HashMap<String, Box<[ExprValue]>> = HashMap::new();
        join.file.read(&columns, &mut |number, values| {
            let value = |column: &String| {
                let place = columns.iter().position(|other| other == column);
                place.and_then(|place| values.get(place)).cloned().unwrap_or(ExprValue::Null)
            };
            let Some(key) = key_text(join.key_columns.iter().map(value)) else { return Ok(()) };
            let taken = join.columns.iter().map(value).collect();
            if rows.insert(key, taken).is_none() {
                return Ok(());
            }
            let message =
                format!("key {} comes twice; join on columns that tell rows apart", join.key_columns.join(", "));
            Err(ReplayError::Read { path: join.file.path.clone(), row: number, message })
        })?;
        Ok(Self { rows })
    }

    /// The columns of the table's row whose key equals the values of `key` for `row`. Empty when no row has that key.
    pub fn find(&self, key: &[MappedField], row: JoinedRow<'_>) -> Result<&[ExprValue], EvalError> {
        let values = key.iter().map(|field| field.expression.eval(&row)).collect::<Result<Vec<_>, _>>()?;
        Ok(key_text(values.into_iter()).and_then(|key| self.rows.get(&key)).map_or(&[], |row| &**row))
    }
}

/// The text that keys are compared by, so that a CSV's `7` equals a Parquet 7. A null equals nothing.
fn key_text(values: impl Iterator<Item = ExprValue>) -> Option<String> {
    let mut text = String::new();
    for value in values {
        if value == ExprValue::Null {
            return None;
        }
        text.push_str(&value.to_string());
        text.push('\u{1f}');
    }
    Some(text)
}

/// Each column once, in the order of the first occurrence.
fn distinct<'c>(columns: impl Iterator<Item = &'c String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for column in columns {
        if !kept.contains(column) {
            kept.push(column.clone());
        }
    }
    kept
}
