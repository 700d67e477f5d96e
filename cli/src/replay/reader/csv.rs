//! Reads CSV. Every value is text until the mapping casts it; an empty field is null.

use std::path::Path;

use millrace_core::expr::ExprValue;

use crate::replay::error::ReplayError;
use crate::replay::row::RowVisitor;

/// Reads these columns of every row. Returns how many rows there are.
pub fn read(path: &Path, delimiter: u8, columns: &[String], visit: RowVisitor<'_>) -> Result<u64, ReplayError> {
    let file = std::fs::File::open(path).map_err(ReplayError::file(path))?;
    let mut reader = ::csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file);
    let headers = reader.headers().map_err(|error| ReplayError::file_content(path, reason(&error)))?;
    let headers: Vec<String> = headers.iter().map(str::to_owned).collect();
    let places = columns.iter().map(|column| {
        let place = headers.iter().position(|header| header.trim_start_matches('\u{feff}') == column);
        place.ok_or_else(|| ReplayError::no_column(path, column, &headers))
    });
    let places = places.collect::<Result<Vec<usize>, _>>()?;
    let (mut record, mut values, mut row) = (::csv::StringRecord::new(), Vec::new(), 0);
    while reader.read_record(&mut record).map_err(|error| ReplayError::row_content(path, row + 1, reason(&error)))? {
        row += 1;
        values.clear();
        values.extend(places.iter().map(|place| match record.get(*place) {
            None | Some("") => ExprValue::Null,
            Some(text) => ExprValue::Text(text.to_owned()),
        }));
        visit(row, &values)?;
    }
    Ok(row)
}

fn reason(error: &::csv::Error) -> String {
    if matches!(error.kind(), ::csv::ErrorKind::Utf8 { .. }) {
        return "not UTF-8; convert the file first".to_owned();
    }
    error.to_string()
}
