//! Reads a mapping file, which says how the rows of one data file become events. All of its fields and expressions are
//! checked here, before any row is read. `reader` checks later whether the data file has the columns. The format is
//! described in `examples/journey/README.md`.

mod bind;
mod model;
mod source;

use std::path::Path;

use super::error::ReplayError;
use source::MappingSource;

pub use model::{Join, MappedField, Mapping, TimeSource};

impl Mapping {
    /// Reads and checks a mapping file. `from` is the folder of its data files. Fails with `File` if it cannot be read,
    /// and with `Mapping` at its first mistake.
    pub fn load(path: &Path, from: &Path) -> Result<Self, ReplayError> {
        let text = std::fs::read_to_string(path).map_err(ReplayError::file(path))?;
        Self::parse(&text, path, from)
    }

    /// Checks the text of a mapping. Messages name `path`, and the mapping is called after it unless the text names it.
    pub fn parse(text: &str, path: &Path, from: &Path) -> Result<Self, ReplayError> {
        let source: MappingSource = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            ReplayError::Mapping { path: path.to_owned(), line, message: error.to_string() }
        })?;
        bind::bind(source, path, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mapping, ReplayError> {
        Mapping::parse(text, Path::new("lines.yaml"), Path::new("data"))
    }

    const GOOD: &str = "
file: lines.csv
event: purchase
source: till
time: sold_at
filter: not is_null(customer)
keys:
  household_id: int(customer)
  product_id: sku
properties:
  sales_value: decimal(value, 2)
  department: products.department
join:
  - as: products
    file: products.parquet
    on:
      product_id: sku
";

    #[test]
    fn a_mapping_knows_which_columns_it_reads() {
        let mapping = parse(GOOD).unwrap();
        assert_eq!(mapping.columns, ["sold_at", "customer", "sku", "value"]);
        assert_eq!(mapping.columns_for_time, 2);
        assert_eq!(mapping.joins[0].columns, ["department"]);
        assert_eq!(mapping.keys[0].name, "household_id");
        assert_eq!(mapping.id.text, "concat('lines-', row)");
        assert_eq!(mapping.file.path, Path::new("data/lines.csv"));
        let joined = parse(&GOOD.replace("not is_null(customer)", "products.department = 'DELI'")).unwrap();
        assert_eq!(joined.columns_for_time, joined.columns.len(), "the filter needs the join");
    }

    #[test]
    fn mistakes_name_their_line() {
        let message = |text: String| parse(&text).unwrap_err().to_string();
        let unclosed = message(GOOD.replace("int(customer)", "int(customer"));
        assert!(
            unclosed.starts_with("lines.yaml, line 8: `household_id`: expected `,` or `)`, found the end"),
            "{unclosed}"
        );
        let unknown = message(GOOD.replace("source: till", "sauce: till"));
        assert!(unknown.starts_with("lines.yaml, line 4: ") && unknown.contains("sauce"), "{unknown}");
        let joined = message(GOOD.replace("      product_id: sku", "      product_id: products.sku"));
        assert!(joined.contains("line 14") && joined.contains("joined column"), "{joined}");
        let twice = message(format!("{GOOD}  - {{ as: products, file: p.csv, on: {{ a: sku }} }}\n"));
        assert!(twice.contains("line 14") && twice.contains("two joins are called `products`"), "{twice}");
    }

    #[test]
    fn the_start_of_the_span_is_a_time() {
        let mapping = parse(&GOOD.replace("time: sold_at", "time: span_start")).unwrap();
        assert!(matches!(mapping.time, TimeSource::SpanStart));
    }
}
