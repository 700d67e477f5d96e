//! NDJSON: numbers keep the digits they are written with. Row numbers are line numbers.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use serde_json::value::RawValue;

use super::{SourceFile, Visit};
use crate::replay::error::ReplayError;
use crate::replay::value::{Decimal, RawValueEq, Value};

type Object<'a> = BTreeMap<String, &'a RawValue>;

pub(super) fn read(path: &Path, columns: &[String], visit: Visit<'_>) -> Result<u64, ReplayError> {
    let file = std::fs::File::open(path).map_err(ReplayError::file(path))?;
    let mut lines = std::io::BufReader::new(file);
    let (mut line, mut row, mut rows) = (String::new(), 0, 0);
    let mut seen = vec![false; columns.len()];
    let mut fields: Vec<String> = Vec::new();
    loop {
        let failed = |row, message: String| ReplayError::Read { path: path.to_owned(), row, message };
        line.clear();
        row += 1;
        if lines.read_line(&mut line).map_err(|error| failed(row, error.to_string()))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        rows += 1;
        let object: Object<'_> = serde_json::from_str(&line)
            .map_err(|error| failed(row, format!("expected one JSON object on the line: {error}")))?;
        let mut values = Vec::with_capacity(columns.len());
        for (column, seen) in columns.iter().zip(&mut seen) {
            let found = find(&object, column);
            *seen |= found.is_some();
            values.push(found.map_or(Ok(Value::Null), |raw| value(&raw)).map_err(|message| failed(row, message))?);
        }
        if fields.is_empty() {
            fields = object.keys().cloned().collect();
        }
        visit(row, &values)?;
    }
    match seen.iter().position(|seen| !seen) {
        Some(missing) if rows > 0 => Err(SourceFile::no_column(path, &columns[missing], &fields)),
        _ => Ok(rows),
    }
}

/// The field of that name, or at that dotted path. One that is there with null is found.
fn find(object: &Object<'_>, column: &str) -> Option<Box<RawValue>> {
    if let Some(raw) = object.get(column) {
        return Some((*raw).to_owned());
    }
    let (first, rest) = column.split_once('.')?;
    let inner: Object<'_> = serde_json::from_str(object.get(first)?.get()).ok()?;
    find(&inner, rest)
}

fn value(raw: &RawValue) -> Result<Value, String> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't' | b'f') => Value::Bool(text == "true"),
        Some(b'"') => Value::Text(serde_json::from_str(text).map_err(|error| error.to_string())?),
        Some(b'{' | b'[') => Value::Json(Box::new(RawValueEq(raw.to_owned()))),
        _ => match (text.parse::<i64>(), Decimal::parse(text)) {
            (Ok(whole), _) => Value::Int(whole),
            (_, Ok(decimal)) => Value::Decimal(decimal),
            _ => Value::Float(text.parse().map_err(|_| format!("`{text}` is no number"))?),
        },
    })
}
