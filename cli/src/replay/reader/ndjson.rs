//! Reads NDJSON. Numbers keep the digits that they are written with. Row numbers are line numbers.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use millrace_core::decimal::Decimal;
use millrace_core::expr::ExprValue;
use serde_json::value::RawValue;

use crate::replay::error::ReplayError;
use crate::replay::row::RowVisitor;

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// Reads these columns of every row. Returns how many rows there are.
pub fn read(path: &Path, columns: &[String], visit: RowVisitor<'_>) -> Result<u64, ReplayError> {
    let file = std::fs::File::open(path).map_err(ReplayError::file(path))?;
    let mut lines = std::io::BufReader::new(file);
    let (mut line, mut row, mut rows) = (String::new(), 0, 0);
    let mut reader = RowReader { columns, seen: vec![false; columns.len()], fields: Vec::new() };
    loop {
        line.clear();
        row += 1;
        let length = lines.read_line(&mut line);
        if length.map_err(|error| ReplayError::row_content(path, row, error.to_string()))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        rows += 1;
        let values = reader.values(&line).map_err(|message| ReplayError::row_content(path, row, message))?;
        visit(row, &values)?;
    }
    match reader.seen.iter().position(|seen| !seen) {
        Some(missing) if rows > 0 => Err(ReplayError::no_column(path, &columns[missing], &reader.fields)),
        Some(_) | None => Ok(rows),
    }
}

/// Reads the wanted columns of lines and remembers which columns any line had.
struct RowReader<'c> {
    columns: &'c [String],
    seen: Vec<bool>,
    /// The fields of the first line, for messages.
    fields: Vec<String>,
}

impl RowReader<'_> {
    fn values(&mut self, line: &str) -> Result<Vec<ExprValue>, String> {
        let object: Object<'_> =
            serde_json::from_str(line).map_err(|error| format!("expected one JSON object on the line: {error}"))?;
        let mut values = Vec::with_capacity(self.columns.len());
        for (column, seen) in self.columns.iter().zip(&mut self.seen) {
            let found = find(&object, column);
            *seen |= found.is_some();
            values.push(found.map_or(Ok(ExprValue::Null), |raw| value(&raw))?);
        }
        if self.fields.is_empty() {
            self.fields = object.keys().cloned().collect();
        }
        Ok(values)
    }
}

/// The field of that name, or at that dotted path. A field with null is found.
fn find(object: &Object<'_>, column: &str) -> Option<Box<RawValue>> {
    if let Some(raw) = object.get(column) {
        return Some((*raw).to_owned());
    }
    let (first, rest) = column.split_once('.')?;
    let inner: Object<'_> = serde_json::from_str(object.get(first)?.get()).ok()?;
    find(&inner, rest)
}

fn value(raw: &RawValue) -> Result<ExprValue, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(ExprValue::Null),
        Some(b't' | b'f') => Ok(ExprValue::Bool(text == "true")),
        Some(b'"') => serde_json::from_str(text).map(ExprValue::Text).map_err(|error| error.to_string()),
        Some(b'{' | b'[') => Ok(ExprValue::Json(text.into())),
        Some(_) | None => number(text),
    }
}

fn number(text: &str) -> Result<ExprValue, String> {
    if let Ok(whole) = text.parse() {
        return Ok(ExprValue::Int(whole));
    }
    if let Some(decimal) = Decimal::parse(text) {
        return Ok(ExprValue::Decimal(decimal));
    }
    text.parse().map(ExprValue::Float).map_err(|_| format!("`{text}` is not a number"))
}
