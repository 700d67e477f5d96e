//! From the YAML as written to the compiled model. Every mistake is collected, with the line where it stands.

mod batch;
mod query;
mod service;
mod view;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::entity::Entity;
use super::event_type::EventType;
use super::model::Definitions;
use super::parse_duration;
use super::route::route;
use super::source::{DefinitionsSource, EventSource, File, is_inside};
use crate::key::KeyType;
use crate::schema::Schema;

pub use batch::EVENT_TIME;

/// Every mistake found, in the order of lines.
#[derive(Debug, PartialEq, Eq)]
pub struct DefinitionErrors(Vec<(u64, String)>);

impl std::error::Error for DefinitionErrors {}

impl fmt::Display for DefinitionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, message)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            if *line == 0 {
                write!(f, "{separator}{message}")?;
            } else {
                write!(f, "{separator}line {line}: {message}")?;
            }
        }
        Ok(())
    }
}

impl Definitions {
    /// Compiles and checks a source.
    pub fn compile(source: DefinitionsSource) -> Result<Self, DefinitionErrors> {
        let file: File = serde_saphyr::from_str(&source.yaml).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            DefinitionErrors(vec![(line, error.to_string())])
        })?;
        let mut checker = Checker { errors: Vec::new() };
        let entities = checker.entities(&file);
        let mut events = checker.events(&file, &entities, &source.schemas);
        let views = checker.views(&file, &entities, &events);
        route(&views, &mut events);
        let services = checker.services(&file, &views);
        if checker.errors.is_empty() {
            return Ok(Self { source, entities, events, views, services });
        }
        checker.errors.sort();
        checker.errors.dedup();
        Err(DefinitionErrors(checker.errors))
    }
}

struct Checker {
    errors: Vec<(u64, String)>,
}

impl Checker {
    fn error(&mut self, line: u64, message: impl Into<String>) {
        self.errors.push((line, message.into()));
    }

    fn name(&mut self, line: u64, what: &str, name: &str) {
        let mut chars = name.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        if !starts_well || name.len() > 64 || !chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            self.error(
                line,
                format!("{what} `{name}`: a name is a-z, 0-9 and _, starts with a letter, at most 64 long"),
            );
        }
    }

    /// The value, or an error that lists what could have been meant.
    fn find<T>(&mut self, line: u64, what: &str, name: &str, items: &[T], name_of: fn(&T) -> &str) -> Option<usize> {
        let found = items.iter().position(|item| name_of(item) == name);
        if found.is_none() {
            let known: Vec<&str> = items.iter().map(name_of).collect();
            self.error(line, format!("no {what} `{name}`; there is {}", known.join(", ")));
        }
        found
    }

    fn duration(&mut self, line: u64, what: &str, text: &str) -> Option<i64> {
        let parsed = parse_duration(text);
        if parsed.is_none() {
            self.error(line, format!("{what} `{text}` is not a duration; write for example 30s, 5m, 1h or 7d"));
        }
        parsed
    }

    fn entities(&mut self, file: &File) -> Vec<Entity> {
        let mut entities = Vec::new();
        for (name, spanned) in &file.entities {
            let line = spanned.referenced.line();
            self.name(line, "entity", name);
            let (fields, kinds) = (spanned.value.key.to_vec(), spanned.value.kind.to_vec());
            if fields.is_empty() || fields.len() != kinds.len() {
                self.error(
                    line,
                    format!("entity `{name}`: `key` and `type` must have as many parts, and at least one"),
                );
            }
            let mut key = Vec::new();
            for (field, kind) in fields.into_iter().zip(kinds) {
                self.name(line, "key field", &field);
                if RESERVED.contains(&field.as_str()) || crate::sql::COLUMNS.contains(&field.as_str()) {
                    self.error(line, format!("key field `{field}` is a reserved name of events"));
                }
                match kind.as_str() {
                    "int64" => key.push((field, KeyType::Int64)),
                    "string" => key.push((field, KeyType::String)),
                    other => self.error(line, format!("entity `{name}`: a key is int64 or string, not `{other}`")),
                }
            }
            entities.push(Entity { name: name.clone(), key, description: spanned.value.description.clone() });
        }
        let mut fields = BTreeSet::new();
        for entity in &entities {
            for (field, _) in &entity.key {
                if !fields.insert(field.clone()) {
                    let line = file.entities.get(&entity.name).map_or(0, |s| s.referenced.line());
                    self.error(line, format!("key field `{field}` belongs to two entities"));
                }
            }
        }
        entities
    }

    fn events(
        &mut self,
        file: &File,
        entities: &[Entity],
        schemas: &BTreeMap<String, serde_json::Value>,
    ) -> Vec<EventType> {
        let mut events = Vec::new();
        for (name, spanned) in &file.events {
            let line = spanned.referenced.line();
            self.name(line, "event", name);
            if crate::sql::TABLES.contains(&name.as_str()) {
                self.error(
                    line,
                    format!(
                        "event `{name}` has the name of one of Millrace's own tables in ClickHouse; choose another"
                    ),
                );
            }
            let EventSource { partition_by, entities: names, schema, description } = &spanned.value;
            let mut indices: Vec<usize> = Vec::new();
            for entity in std::iter::once(partition_by).chain(names) {
                if let Some(index) = self.find(line, "entity", entity, entities, |e| &e.name)
                    && !indices.contains(&index)
                {
                    indices.push(index);
                }
            }
            let schema = schema.as_ref().and_then(|path| match schemas.get(path) {
                _ if !is_inside(path) => {
                    let reason =
                        "lies outside the folder of the definitions; name a file in it, without `..` or a `/` before";
                    self.error(line, format!("event `{name}`: schema `{path}` {reason}"));
                    None
                }
                None => {
                    self.error(line, format!("event `{name}`: schema `{path}` was not found beside the definitions"));
                    None
                }
                Some(schema) => match Schema::compile(schema) {
                    Ok(schema) => Some(schema),
                    Err(error) => {
                        self.error(line, format!("event `{name}`: schema `{path}` is not valid: {error}"));
                        None
                    }
                },
            });
            events.push(EventType {
                name: name.clone(),
                partition_by: indices.first().copied().unwrap_or(0),
                entities: indices,
                schema,
                paths: Vec::new(),
                reads: Vec::new(),
                routes: Vec::new(),
                description: description.clone(),
            });
        }
        events
    }
}

/// Names of an event that no key field may take.
const RESERVED: [&str; 6] = ["type", "id", "source", "time", "properties", "traceparent"];
