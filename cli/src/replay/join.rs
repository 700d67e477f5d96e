//! The small tables that rows look things up in, held in memory.

use std::collections::HashMap;

use super::error::ReplayError;
use super::expr::{EvalError, RowView};
use super::mapping::{Field, Join};
use super::value::Value;

/// One loaded table.
#[derive(Debug)]
pub struct Table {
    rows: HashMap<String, Box<[Value]>>,
}

impl Table {
    /// Reads the table; a key that comes twice is an error, since either row could be meant.
    pub fn load(join: &Join) -> Result<Self, ReplayError> {
        let columns = distinct(join.key_columns.iter().chain(&join.columns));
        let mut rows: HashMap<String, Box<[Value]>> = HashMap::new();
        join.file.read(&columns, &mut |number, values| {
            let value = |column: &String| {
                let place = columns.iter().position(|other| other == column);
                place.and_then(|place| values.get(place)).cloned().unwrap_or(Value::Null)
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

    /// The row that belongs to this one; empty where there is none.
    pub fn find(&self, key: &[Field], row: RowView<'_>) -> Result<&[Value], EvalError> {
        let values = key.iter().map(|field| field.expression.eval(row)).collect::<Result<Vec<_>, _>>()?;
        Ok(key_text(values.into_iter()).and_then(|key| self.rows.get(&key)).map_or(&[], |row| &**row))
    }
}

/// Keys are compared as text, so that a CSV's `7` meets a Parquet 7; null meets nothing.
fn key_text(values: impl Iterator<Item = Value>) -> Option<String> {
    let mut text = String::new();
    for value in values {
        if value == Value::Null {
            return None;
        }
        text.push_str(&value.to_string());
        text.push('\u{1f}');
    }
    Some(text)
}

fn distinct<'c>(columns: impl Iterator<Item = &'c String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for column in columns {
        if !kept.contains(column) {
            kept.push(column.clone());
        }
    }
    kept
}
