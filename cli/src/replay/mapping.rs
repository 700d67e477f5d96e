//! The mapping file: how the rows of one source file become events. Checked whole, with lines, before any row is read;
//! the format is described in `examples/journey/README.md`.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::error::ReplayError;
use super::expr::{Expr, Place};
use super::reader::{Format, SourceFile};

/// A checked mapping.
#[derive(Debug)]
pub struct Mapping {
    /// Names it in reports, and begins its event ids where it gives no `id`.
    pub name: String,
    /// The rows.
    pub file: SourceFile,
    /// The rows' own columns that any expression reads; those of `time` and `filter` come first.
    pub columns: Vec<String>,
    /// How many of the columns are enough to tell a row's time; all, if a join is needed for that.
    pub columns_for_time: usize,
    /// The event type.
    pub event: String,
    /// The event's `source`.
    pub source: Option<String>,
    /// Its time.
    pub time: TimeSource,
    /// Its id; stable, so that a resend is known.
    pub id: Field,
    /// Rows that stay; all, where there is none.
    pub filter: Option<Field>,
    /// Its entity keys. Events with the same first key are sent in order.
    pub keys: Vec<Field>,
    /// Its properties.
    pub properties: Vec<Field>,
    /// Tables that its expressions look things up in.
    pub joins: Vec<Join>,
}

/// Where an event's time comes from.
#[derive(Debug)]
pub enum TimeSource {
    /// An expression.
    Computed(Field),
    /// The start of the replayed span: for what holds from before the first event on.
    SpanStart,
}

/// One field of an event.
#[derive(Debug)]
pub struct Field {
    /// Its name, for messages with its place: `properties.quantity`.
    pub name: String,
    /// What the mapping says.
    pub text: String,
    /// The same, ready to compute.
    pub expression: Expr<Place>,
}

/// A small table held in memory.
#[derive(Debug)]
pub struct Join {
    /// What its columns are called by: `products.department`.
    pub alias: String,
    /// Its rows.
    pub file: SourceFile,
    /// The columns that any expression reads.
    pub columns: Vec<String>,
    /// Its own columns that make its key.
    pub key_columns: Vec<String>,
    /// What each of them equals in the row.
    pub key_values: Vec<Field>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingSource {
    name: Option<String>,
    file: PathBuf,
    format: Option<Format>,
    delimiter: Option<char>,
    event: String,
    source: Option<String>,
    time: Spanned<String>,
    id: Option<Spanned<String>>,
    filter: Option<Spanned<String>>,
    keys: Pairs<Spanned<String>>,
    #[serde(default)]
    properties: Pairs<Spanned<String>>,
    #[serde(default)]
    join: Vec<Spanned<JoinSource>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinSource {
    #[serde(rename = "as")]
    alias: String,
    file: PathBuf,
    format: Option<Format>,
    delimiter: Option<char>,
    on: Pairs<Spanned<String>>,
}

/// A map in the order of the file.
#[derive(Debug)]
struct Pairs<T>(Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Pairs<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with expressions")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

impl Mapping {
    /// Reads and checks a mapping file; its data files are looked for in `from`.
    pub fn load(path: &Path, from: &Path) -> Result<Self, ReplayError> {
        let text = std::fs::read_to_string(path).map_err(ReplayError::file(path))?;
        Self::parse(&text, path, from)
    }

    /// Checks a mapping's text; `path` is for messages.
    pub fn parse(text: &str, path: &Path, from: &Path) -> Result<Self, ReplayError> {
        let source: MappingSource = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            ReplayError::Mapping { path: path.to_owned(), line, message: error.to_string() }
        })?;
        Binder::new(path, &source, from).mapping(source, from)
    }
}

/// Gives every column that an expression names its place.
struct Binder<'p> {
    path: &'p Path,
    columns: Vec<String>,
    joins: Vec<Join>,
    joined: bool,
}

impl<'p> Binder<'p> {
    fn new(path: &'p Path, source: &MappingSource, from: &Path) -> Self {
        let join = |spanned: &Spanned<JoinSource>| {
            let join = &spanned.value;
            Join {
                alias: join.alias.clone(),
                file: SourceFile::new(from.join(&join.file), join.format, join.delimiter),
                columns: Vec::new(),
                key_columns: join.on.0.iter().map(|(column, _)| column.clone()).collect(),
                key_values: Vec::new(),
            }
        };
        Self { path, columns: Vec::new(), joins: source.join.iter().map(join).collect(), joined: false }
    }

    fn mapping(mut self, source: MappingSource, from: &Path) -> Result<Mapping, ReplayError> {
        let stem = self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let name = source.name.unwrap_or(stem);
        let time = match source.time.value.trim() {
            "span_start" => TimeSource::SpanStart,
            _ => TimeSource::Computed(self.field("time", &source.time)?),
        };
        let filter = source.filter.map(|filter| self.field("filter", &filter)).transpose()?;
        let columns_for_time = if self.joined { usize::MAX } else { self.columns.len() };
        for (index, join) in source.join.iter().enumerate() {
            self.join(index, join)?;
        }
        let id = match &source.id {
            Some(id) => self.field("id", id)?,
            None => default_id(&name),
        };
        let keys = self.fields("keys", &source.keys)?;
        if keys.is_empty() {
            return Err(self.error(1, "`keys` is empty; an event has at least the key it is partitioned by"));
        }
        let properties = self.fields("properties", &source.properties)?;
        Ok(Mapping {
            name,
            file: SourceFile::new(from.join(&source.file), source.format, source.delimiter),
            columns_for_time: columns_for_time.min(self.columns.len()),
            columns: self.columns,
            event: source.event,
            source: source.source,
            time,
            id,
            filter,
            keys,
            properties,
            joins: self.joins,
        })
    }

    fn join(&mut self, index: usize, source: &Spanned<JoinSource>) -> Result<(), ReplayError> {
        let line = source.referenced.line();
        let alias = &source.value.alias;
        if self.joins.iter().filter(|join| join.alias == *alias).count() > 1 {
            return Err(self.error(line, format!("two joins are called `{alias}`; give one another `as`")));
        }
        if source.value.on.0.is_empty() {
            return Err(
                self.error(line, format!("join `{alias}` has no `on`; write `on: {{ its_column: row_column }}`"))
            );
        }
        let in_join = self.joined;
        self.joined = false;
        let key_values = self.fields(&format!("join {alias}"), &source.value.on)?;
        if self.joined {
            return Err(self.error(line, format!("join `{alias}` is on a joined column; only the row's own ones work")));
        }
        self.joined = in_join;
        self.joins[index].key_values = key_values;
        Ok(())
    }

    fn fields(&mut self, place: &str, source: &Pairs<Spanned<String>>) -> Result<Vec<Field>, ReplayError> {
        let mut fields: Vec<Field> = Vec::with_capacity(source.0.len());
        for (name, text) in &source.0 {
            let field = self.field(name, text)?;
            if fields.iter().any(|other| other.name == field.name) {
                return Err(self.error(text.referenced.line(), format!("`{place}.{name}` is given twice")));
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn field(&mut self, name: &str, source: &Spanned<String>) -> Result<Field, ReplayError> {
        let line = source.referenced.line();
        let parsed = Expr::parse(&source.value).map_err(|error| self.error(line, format!("`{name}`: {error}")))?;
        let expression = parsed.bind(&mut |column| Ok::<_, ReplayError>(self.place(column)))?;
        Ok(Field { name: name.to_owned(), text: source.value.clone(), expression })
    }

    fn place(&mut self, column: String) -> Place {
        let joined = column.split_once('.').and_then(|(alias, column)| {
            let index = self.joins.iter().position(|join| join.alias == alias)?;
            Some((index, column.to_owned()))
        });
        match joined {
            Some((index, column)) => {
                self.joined = true;
                Place::Joined(index, position(&mut self.joins[index].columns, column))
            }
            None => Place::Own(position(&mut self.columns, column)),
        }
    }

    fn error(&self, line: u64, message: impl Into<String>) -> ReplayError {
        ReplayError::Mapping { path: self.path.to_owned(), line, message: message.into() }
    }
}

/// `concat('{name}-', row)`.
fn default_id(name: &str) -> Field {
    let prefix = Expr::Literal(super::value::Value::Text(format!("{name}-")));
    let expression = Expr::Call(super::expr::Function::Concat, vec![prefix, Expr::Row]);
    Field { name: "id".to_owned(), text: format!("concat('{name}-', row)"), expression }
}

fn position(items: &mut Vec<String>, wanted: String) -> usize {
    items.iter().position(|item| *item == wanted).unwrap_or_else(|| {
        items.push(wanted);
        items.len() - 1
    })
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
    }

    #[test]
    fn the_start_of_the_span_is_a_time() {
        let mapping = parse(&GOOD.replace("time: sold_at", "time: span_start")).unwrap();
        assert!(matches!(mapping.time, TimeSource::SpanStart));
    }
}
