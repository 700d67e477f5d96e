//! Rows of a file, one at a time: Parquet, CSV and NDJSON give the same values. Their meaning is left to the mapping.

mod csv;
mod ndjson;
mod parquet;

use std::path::PathBuf;

use serde::Deserialize;

use super::error::ReplayError;
use super::row::RowVisitor;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Apache Parquet, flat columns.
    Parquet,
    /// Delimited text with a header line; an empty field is null.
    Csv,
    /// One JSON object per line; `a.b` is the field `b` of the object `a`.
    #[serde(alias = "jsonl")]
    Ndjson,
}

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// The byte between fields, in CSV.
    pub delimiter: u8,
}

impl SourceFile {
    /// A file whose format, when it is not given, follows from its ending: `.csv`, `.tsv`, `.parquet`, else NDJSON.
    pub fn new(path: PathBuf, format: Option<Format>, delimiter: Option<char>) -> Self {
        let by_ending = match path.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => Format::Parquet,
            Some("csv" | "tsv") => Format::Csv,
            Some(_) | None => Format::Ndjson,
        };
        let tabs = path.extension().is_some_and(|ending| ending == "tsv");
        let default = if tabs { b'\t' } else { b',' };
        let delimiter = delimiter.and_then(|c| u8::try_from(c).ok()).unwrap_or(default);
        Self { format: format.unwrap_or(by_ending), path, delimiter }
    }

    /// Reads these columns of every row. Returns how many rows there are.
    pub fn read(&self, columns: &[String], visit: RowVisitor<'_>) -> Result<u64, ReplayError> {
        match self.format {
            Format::Parquet => parquet::read(&self.path, columns, visit),
            Format::Csv => csv::read(&self.path, self.delimiter, columns, visit),
            Format::Ndjson => ndjson::read(&self.path, columns, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(name: &str, content: &str, columns: &[&str]) -> Result<Vec<String>, ReplayError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
        let mut rows = Vec::new();
        SourceFile::new(path, None, None).read(&columns, &mut |number, values| {
            let shown: Vec<String> = values.iter().map(|v| format!("{} {v}", v.kind())).collect();
            rows.push(format!("{number}: {}", shown.join(" | ")));
            Ok(())
        })?;
        Ok(rows)
    }

    #[test]
    fn csv_rows_are_text_and_nulls() {
        let found = rows("a.csv", "id,name\n1,\"x,y\"\n2,\n", &["name", "id"]).unwrap();
        assert_eq!(found, ["1: text x,y | text 1", "2: null  | text 2"]);
    }

    #[test]
    fn ndjson_numbers_keep_their_digits() {
        let lines = "{\"a\":{\"b\":1.10},\"n\":12345678901234567}\n\n{\"n\":1e3,\"a\":null}\n";
        let found = rows("a.ndjson", lines, &["a.b", "n"]).unwrap();
        assert_eq!(found, ["1: a decimal 1.10 | a whole number 12345678901234567", "3: null  | a float 1000"]);
    }

    #[test]
    fn a_missing_column_is_named_with_those_there_are() {
        let message = rows("a.csv", "id,name\n1,x\n", &["nmae"]).unwrap_err().to_string();
        assert!(message.ends_with("has no column `nmae`; it has id, name"), "{message}");
        let message = rows("a.ndjson", "{\"id\":1}\n", &["nmae"]).unwrap_err().to_string();
        assert!(message.ends_with("has no column `nmae`; it has id"), "{message}");
    }

    #[test]
    fn a_broken_row_is_named() {
        let message = rows("a.csv", "id,name\n1,x\n2\n", &["id"]).unwrap_err().to_string();
        assert!(message.contains("a.csv, row 2: "), "{message}");
        let message = rows("a.ndjson", "{\"id\":1}\n{\"id\":\n", &["id"]).unwrap_err().to_string();
        assert!(message.contains("a.ndjson, row 2: "), "{message}");
    }
}
