//! A batch view's query as it is sent: wrapped, so that it can only be a SELECT, and asked for its columns by name, so
//! that other columns of the query change nothing in a row. `as_of` travels as a parameter.

use chrono::{DateTime, Utc};

use super::{Param, SqlQuery, quote_name};
use crate::definitions::{Definitions, EVENT_TIME, ValueType, View};

/// One JSON array per row and line.
pub const BATCH_FORMAT: &str = "JSONCompactEachRow";
/// Values are written as `Scalar::read` takes them, and nothing but reading is allowed.
pub const BATCH_SETTINGS: [(&str, &str); 6] = [
    ("readonly", "2"),
    ("output_format_json_quote_64bit_integers", "1"),
    ("output_format_json_quote_decimals", "1"),
    // `nan` is refused and named, not turned into null.
    ("output_format_json_quote_denormals", "1"),
    ("output_format_json_named_tuples_as_objects", "1"),
    ("date_time_output_format", "iso"),
];

/// Which optional columns a query returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchColumns {
    /// Whether each row says when its values were true.
    pub event_time: bool,
}

/// Only parses the query: the tables that it reads need not exist yet.
pub fn batch_parse(query: &str) -> SqlQuery {
    SqlQuery { text: format!("EXPLAIN AST SELECT * FROM (\n{query}\n)"), params: vec![as_of_param(0)] }
}

/// Asks for the names and types of the query's columns.
pub fn batch_columns(query: &str, as_of: i64) -> SqlQuery {
    // The line break ends a comment at the end of the query.
    SqlQuery { text: format!("DESCRIBE TABLE (\n{query}\n)"), params: vec![as_of_param(as_of)] }
}

/// Asks how many rows the query returns.
pub fn batch_count(query: &str, as_of: i64) -> SqlQuery {
    SqlQuery { text: format!("SELECT count() FROM (\n{query}\n)"), params: vec![as_of_param(as_of)] }
}

/// The rows: key fields, features, and `event_time` if the query returns it, in this order.
pub fn batch_rows(definitions: &Definitions, view: &View, query: &str, columns: BatchColumns, as_of: i64) -> SqlQuery {
    let event_time = columns.event_time.then_some(EVENT_TIME);
    let wanted: Vec<String> = BatchColumns::wanted(definitions, view).chain(event_time).map(quote_name).collect();
    let text = format!("SELECT {} FROM (\n{query}\n)", wanted.join(", "));
    SqlQuery { text, params: vec![as_of_param(as_of)] }
}

/// A column that a query returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchColumn {
    /// Its name.
    pub name: String,
    /// Its type, as ClickHouse writes it.
    pub kind: String,
}

impl BatchColumns {
    /// Compares what the query returns with what the view declares; every difference is in the error.
    pub fn check(definitions: &Definitions, view: &View, found: &[BatchColumn]) -> Result<Self, String> {
        let has = |name: &str| found.iter().any(|column| column.name == name);
        let missing: Vec<&str> = Self::wanted(definitions, view).filter(|name| !has(name)).collect();
        let known = |name: &str| name == EVENT_TIME || Self::wanted(definitions, view).any(|wanted| wanted == name);
        let names = found.iter().map(|column| column.name.as_str());
        let unknown: Vec<&str> = names.filter(|name| !known(name)).collect();
        let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match (missing.is_empty(), unknown.is_empty()) {
            (true, true) => match found.iter().find(|column| column.is_date() && is_instant(view, &column.name)) {
                Some(BatchColumn { name, kind }) => Err(format!(
                    "the query of view `{}` returns `{name}` as {kind}, which is not an instant; write toDateTime(…, 'UTC')",
                    view.id()
                )),
                None => Ok(Self { event_time: has(EVENT_TIME) }),
            },
            (true, false) => Err(format!(
                "the query of view `{}` returns {}, which are not features of it; declare them or leave them out",
                view.id(),
                list(&unknown)
            )),
            (false, true) => Err(format!("the query of view `{}` does not return {}", view.id(), list(&missing))),
            (false, false) => Err(format!(
                "the query of view `{}` does not return {}, but {}; name its columns after key fields and features",
                view.id(),
                list(&missing),
                list(&unknown)
            )),
        }
    }

    fn wanted<'d>(definitions: &'d Definitions, view: &'d View) -> impl Iterator<Item = &'d str> {
        let key = definitions.entities[view.entity].key.iter().map(|(field, _)| field.as_str());
        key.chain(view.features.iter().map(|feature| feature.name.as_str()))
    }
}

impl BatchColumn {
    /// Whether it holds days, which JSON writes in a form that is not a timestamp.
    fn is_date(&self) -> bool {
        let inner = self.kind.trim_start_matches("LowCardinality(").trim_start_matches("Nullable(");
        matches!(inner.trim_end_matches(')'), "Date" | "Date32")
    }
}

/// Whether a column is read as an instant.
fn is_instant(view: &View, column: &str) -> bool {
    column == EVENT_TIME
        || view.feature(column).is_some_and(|feature| view.features[feature].value_type == ValueType::Timestamp)
}

/// `{as_of:DateTime64(3, 'UTC')}` for queries that read up to an instant.
fn as_of_param(as_of: i64) -> (String, Param) {
    let text = DateTime::<Utc>::from_timestamp_millis(as_of)
        .map_or_else(|| as_of.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S%.3f").to_string());
    ("as_of".to_owned(), Param::Text(text))
}
