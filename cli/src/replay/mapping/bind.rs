//! Checks a mapping file and gives every column that its expressions name a place. Errors name the line.

use std::path::Path;

use millrace_core::expr::{Expr, ExprValue};
use serde_saphyr::Spanned;

use super::model::{Join, MappedField, Mapping, TimeSource};
use super::source::{JoinSource, MappingSource, Pairs};
use crate::replay::error::ReplayError;
use crate::replay::reader::SourceFile;
use crate::replay::row::ColumnRef;

/// Checks a mapping. `path` is for messages; data files are looked for in `from`.
pub fn bind(source: MappingSource, path: &Path, from: &Path) -> Result<Mapping, ReplayError> {
    Binder::new(path, &source, from).mapping(source, from)
}

struct Binder<'p> {
    path: &'p Path,
    /// The row's own columns that expressions read so far.
    columns: Vec<String>,
    joins: Vec<Join>,
    /// Whether an expression has read a joined column since this was last cleared.
    reads_join: bool,
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
        Self { path, columns: Vec::new(), joins: source.join.iter().map(join).collect(), reads_join: false }
    }

    fn mapping(mut self, source: MappingSource, from: &Path) -> Result<Mapping, ReplayError> {
        let stem = self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let name = source.name.unwrap_or(stem);
        let time = match source.time.value.trim() {
            "span_start" => TimeSource::SpanStart,
            _ => TimeSource::Computed(self.field("time", &source.time)?),
        };
        let filter = source.filter.map(|filter| self.field("filter", &filter)).transpose()?;
        let enough_for_time = if self.reads_join { None } else { Some(self.columns.len()) };
        for (index, join) in source.join.iter().enumerate() {
            self.joins[index].key_values = self.join_key(join)?;
        }
        let id = match &source.id {
            Some(id) => self.field("id", id)?,
            None => default_id(&name),
        };
        let keys = self.fields("keys", &source.keys)?;
        if keys.is_empty() {
            return Err(self.error(1, "`keys` is empty; an event needs at least the key that it is partitioned by"));
        }
        let properties = self.fields("properties", &source.properties)?;
        Ok(Mapping {
            name,
            file: SourceFile::new(from.join(&source.file), source.format, source.delimiter),
            columns_for_time: enough_for_time.unwrap_or(self.columns.len()),
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

    /// The expressions that a join's key equals. They may read the row's own columns only.
    fn join_key(&mut self, source: &Spanned<JoinSource>) -> Result<Vec<MappedField>, ReplayError> {
        let line = source.referenced.line();
        let alias = &source.value.alias;
        if self.joins.iter().filter(|join| join.alias == *alias).count() > 1 {
            return Err(self.error(line, format!("two joins are called `{alias}`; give one of them another `as`")));
        }
        if source.value.on.0.is_empty() {
            let message = format!("join `{alias}` has no `on`; write `on: {{ its_column: row_column }}`");
            return Err(self.error(line, message));
        }
        self.reads_join = false;
        let key_values = self.fields(&format!("join {alias}"), &source.value.on)?;
        if self.reads_join {
            return Err(self.error(line, format!("join `{alias}` is on a joined column; use a column of the row")));
        }
        Ok(key_values)
    }

    fn fields(&mut self, section: &str, source: &Pairs<Spanned<String>>) -> Result<Vec<MappedField>, ReplayError> {
        let mut fields: Vec<MappedField> = Vec::with_capacity(source.0.len());
        for (name, text) in &source.0 {
            let field = self.field(name, text)?;
            if fields.iter().any(|other| other.name == field.name) {
                return Err(self.error(text.referenced.line(), format!("`{section}.{name}` is given twice")));
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn field(&mut self, name: &str, source: &Spanned<String>) -> Result<MappedField, ReplayError> {
        let line = source.referenced.line();
        let parsed = Expr::parse(&source.value).map_err(|error| self.error(line, format!("`{name}`: {error}")))?;
        let expression = parsed.bind(&mut |column| self.column(column));
        Ok(MappedField { name: name.to_owned(), text: source.value.clone(), expression })
    }

    fn column(&mut self, name: String) -> ColumnRef {
        let joined = name.split_once('.').and_then(|(alias, column)| {
            let join = self.joins.iter().position(|join| join.alias == alias)?;
            Some((join, column.to_owned()))
        });
        match joined {
            Some((join, column)) => {
                self.reads_join = true;
                ColumnRef::Joined { join, column: index_of(&mut self.joins[join].columns, column) }
            }
            None => ColumnRef::Own { column: index_of(&mut self.columns, name) },
        }
    }

    fn error(&self, line: u64, message: impl Into<String>) -> ReplayError {
        ReplayError::Mapping { path: self.path.to_owned(), line, message: message.into() }
    }
}

/// `concat('{name}-', row)`.
fn default_id(name: &str) -> MappedField {
    let prefix = Expr::Literal(ExprValue::Text(format!("{name}-")));
    let expression = Expr::Concat(vec![prefix, Expr::RowNumber]);
    MappedField { name: "id".to_owned(), text: format!("concat('{name}-', row)"), expression }
}

/// The index of an item, which is added when it is new.
fn index_of(items: &mut Vec<String>, wanted: String) -> usize {
    items.iter().position(|item| *item == wanted).unwrap_or_else(|| {
        items.push(wanted);
        items.len() - 1
    })
}
