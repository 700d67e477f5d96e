//! CSV: everything is text until the mapping casts it.

use std::path::Path;

use super::{SourceFile, Visit};
use crate::replay::error::ReplayError;
use crate::replay::value::Value;

pub(super) fn read(path: &Path, delimiter: u8, columns: &[String], visit: Visit<'_>) -> Result<u64, ReplayError> {
    let file = std::fs::File::open(path).map_err(ReplayError::file(path))?;
    let mut reader = ::csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file);
    let failed = |row, error: ::csv::Error| {
        let message = match error.kind() {
            ::csv::ErrorKind::Utf8 { .. } => "not UTF-8; convert the file first".to_owned(),
            _ => error.to_string(),
        };
        ReplayError::Read { path: path.to_owned(), row, message }
    };
    let headers: Vec<String> = reader.headers().map_err(|e| failed(0, e))?.iter().map(str::to_owned).collect();
    let places = columns.iter().map(|column| {
        let place = headers.iter().position(|header| header.trim_start_matches('\u{feff}') == column);
        place.ok_or_else(|| SourceFile::no_column(path, column, &headers))
    });
    let places = places.collect::<Result<Vec<usize>, _>>()?;
    let (mut record, mut values, mut row) = (::csv::StringRecord::new(), Vec::new(), 0);
    while reader.read_record(&mut record).map_err(|error| failed(row + 1, error))? {
        row += 1;
        values.clear();
        values.extend(places.iter().map(|place| match record.get(*place) {
            None | Some("") => Value::Null,
            Some(text) => Value::Text(text.to_owned()),
        }));
        visit(row, &values)?;
    }
    Ok(row)
}
