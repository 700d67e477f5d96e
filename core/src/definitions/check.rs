//! From the YAML as written to the compiled model. Every mistake is collected, with the line where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_saphyr::Spanned;

use super::model::{
    Aggregation, Definitions, Entity, EventType, Feature, InputSource, Service, ServiceVersion, Slots, Store, View,
    Window, WindowSpec,
};
use super::route::{PropertyPath, Route, RouteInput};
use super::source::{DefinitionsSource, EventSource, FeatureSource, File, ViewSource, WindowSource};
use super::{ValueType, format_duration, parse_duration};
use crate::decimal::DecimalType;
use crate::key::KeyType;
use crate::window::default_hop;

/// The most values that `last_n` keeps.
const MAX_LAST_N: u32 = 1_000;
/// Decimal digits that a sum may start from: it leaves room for 10^10 values in an `i128`.
const MAX_SUM_PRECISION: u8 = 28;

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
            self.error(line, format!("{what} `{name}`: a name is a-z, 0-9 and _, starts with a letter, at most 64 long"));
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
            self.error(line, format!("{what} `{text}` is no duration; write for example 30s, 5m, 1h or 7d"));
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
                self.error(line, format!("entity `{name}`: `key` and `type` must have as many parts, and at least one"));
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
                self.error(line, format!("event `{name}` cannot be called like a table of ours in ClickHouse"));
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
                None => {
                    self.error(line, format!("event `{name}`: schema `{path}` was not found beside the definitions"));
                    None
                }
                Some(schema) => match jsonschema::validator_for(schema) {
                    Ok(validator) => Some(validator),
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

    fn views(&mut self, file: &File, entities: &[Entity], events: &[EventType]) -> Vec<View> {
        let mut views: Vec<View> = Vec::new();
        for spanned in &file.views {
            let line = spanned.referenced.line();
            self.name(line, "view", &spanned.value.name);
            let Some(view) = self.view(line, &spanned.value, entities, events) else { continue };
            if views.iter().any(|other| other.name == view.name && other.version == view.version) {
                self.error(line, format!("view `{}` is declared twice", view.id()));
            }
            views.push(view);
        }
        views
    }

    fn view(&mut self, line: u64, source: &ViewSource, entities: &[Entity], events: &[EventType]) -> Option<View> {
        let entity = self.find(line, "entity", &source.entity, entities, |e| &e.name)?;
        let mut from = Vec::new();
        for name in &source.from {
            let Some(index) = self.find(line, "event", name, events, |e| &e.name) else { continue };
            if !events[index].entities.contains(&entity) {
                self.error(line, format!("event `{name}` carries no key of entity `{}`", source.entity));
            }
            from.push(index);
        }
        if source.from.is_empty() {
            self.error(line, "`from` names no event");
        }
        let store = match source.store.as_deref() {
            None | Some("redis") => Store::Redis,
            Some("mongodb") => Store::MongoDb,
            Some("clickhouse") => Store::ClickHouse,
            Some(other) => {
                self.error(line, format!("store `{other}` is none of redis, mongodb, clickhouse"));
                return None;
            }
        };
        let known = from.iter().all(|index| events[*index].partition_by == entity);
        let mut view = View {
            name: source.name.clone(),
            version: source.version.unwrap_or(1),
            entity,
            from,
            store,
            ttl: source.ttl.as_ref().and_then(|text| self.duration(line, "ttl", text)),
            slots: if known { Slots::Known } else { Slots::All },
            inputs: Vec::new(),
            windows: Vec::new(),
            features: Vec::new(),
            description: source.description.clone(),
        };
        if view.version == 0 {
            self.error(line, "a view's `version` starts at 1");
        }
        if store == Store::MongoDb && !known {
            self.error(line, "a mongodb view holds the entity that its events are partitioned by");
        }
        let lateness = source.lateness.as_ref().and_then(|text| self.duration(line, "lateness", text));
        for feature in &source.features {
            self.feature(feature, lateness, &mut view, entities);
        }
        if view.features.is_empty() {
            self.error(line, format!("view `{}` has no features", source.name));
        }
        Some(view)
    }

    fn feature(
        &mut self,
        spanned: &Spanned<FeatureSource>,
        lateness: Option<i64>,
        view: &mut View,
        entities: &[Entity],
    ) {
        let (line, source) = (spanned.referenced.line(), &spanned.value);
        self.name(line, "feature", &source.name);
        let Some(aggregation) = self.aggregation(line, source) else { return };
        let input = match &source.value {
            Some(value) => match self.input(line, value, source, aggregation, entities) {
                Some(input) => Some(input),
                None => return,
            },
            None if aggregation == Aggregation::Count => None,
            None => return self.error(line, format!("`{}` needs a `value`", source.agg)),
        };
        let Some(value_type) = self.value_type(line, aggregation, input.as_ref().map(|(_, t)| t)) else { return };
        let input = input.map(|wanted| index_of(&mut view.inputs, wanted));
        for (window, suffix) in self.windows(line, source, lateness, view) {
            let name = format!("{}{suffix}", source.name);
            if view.features.iter().any(|other| other.name == name) {
                self.error(line, format!("feature `{name}` is declared twice in view `{}`", view.name));
            }
            let index = match view.windows.iter().position(|spec| spec.window == window) {
                Some(index) => index,
                None => {
                    view.windows.push(WindowSpec { window, features: Vec::new() });
                    view.windows.len() - 1
                }
            };
            view.windows[index].features.push(view.features.len());
            view.features.push(Feature {
                name,
                aggregation,
                input,
                value_type: value_type.clone(),
                window: index,
                default: source.default.clone(),
                description: source.description.clone(),
            });
        }
    }

    fn aggregation(&mut self, line: u64, source: &FeatureSource) -> Option<Aggregation> {
        let aggregation = match (source.agg.as_str(), source.n) {
            ("last_n", Some(n)) if (1..=MAX_LAST_N).contains(&n) => return Some(Aggregation::LastN(n)),
            ("last_n", _) => {
                self.error(line, format!("`last_n` needs `n` between 1 and {MAX_LAST_N}"));
                return None;
            }
            ("count", _) => Aggregation::Count,
            ("sum", _) => Aggregation::Sum,
            ("mean", _) => Aggregation::Mean,
            ("min", _) => Aggregation::Min,
            ("max", _) => Aggregation::Max,
            ("first", _) => Aggregation::First,
            ("last", _) => Aggregation::Last,
            ("distinct_count", _) => Aggregation::DistinctCount,
            (other, _) => {
                self.error(
                    line,
                    format!(
                        "agg `{other}` is none of count, sum, mean, min, max, first, last, last_n, distinct_count"
                    ),
                );
                return None;
            }
        };
        if source.n.is_some() {
            self.error(line, "`n` belongs to `last_n` alone");
        }
        Some(aggregation)
    }

    fn input(
        &mut self,
        line: u64,
        value: &str,
        source: &FeatureSource,
        aggregation: Aggregation,
        entities: &[Entity],
    ) -> Option<(InputSource, ValueType)> {
        let declared = match &source.kind {
            Some(kind) => match kind.parse::<ValueType>() {
                Ok(kind) => Some(kind),
                Err(error) => {
                    self.error(line, error.to_string());
                    return None;
                }
            },
            None => None,
        };
        if let Some(path) = value.strip_prefix("properties.") {
            let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
            if segments.iter().any(String::is_empty) {
                self.error(line, format!("value `{value}` has an empty part"));
                return None;
            }
            // What is only counted needs no type: any value that is not null counts.
            let kind = match (declared, aggregation) {
                (Some(kind), _) => kind,
                (None, Aggregation::Count) => ValueType::String,
                (None, _) => {
                    self.error(line, format!("`type` of `{value}` is missing; write for example int64 or decimal(18,2)"));
                    return None;
                }
            };
            return Some((InputSource::Property(segments), kind));
        }
        let owner = entities.iter().position(|entity| entity.key.len() == 1 && entity.key[0].0 == value);
        let Some(index) = owner else {
            self.error(line, format!("value `{value}` is neither `properties.…` nor the key field of an entity"));
            return None;
        };
        let kind = match entities[index].key[0].1 {
            KeyType::Int64 => ValueType::Int64,
            KeyType::String => ValueType::String,
        };
        if declared.as_ref().is_some_and(|declared| *declared != kind) {
            self.error(line, format!("`{value}` is {kind}, as its entity declares"));
        }
        Some((InputSource::Key(index), kind))
    }

    /// The type of the finished value, if the aggregation takes such an input.
    fn value_type(&mut self, line: u64, aggregation: Aggregation, input: Option<&ValueType>) -> Option<ValueType> {
        let input = input.cloned().unwrap_or(ValueType::Int64);
        let fits = match aggregation {
            Aggregation::Count | Aggregation::First | Aggregation::Last | Aggregation::LastN(_) => true,
            Aggregation::Sum | Aggregation::Mean => input.is_numeric(),
            Aggregation::Min | Aggregation::Max => input.is_scalar() && input != ValueType::Bool,
            Aggregation::DistinctCount => input.is_scalar() && input != ValueType::Float64,
        };
        if !fits {
            self.error(line, format!("this aggregation takes no {input}"));
            return None;
        }
        if let (Aggregation::Sum | Aggregation::Mean, ValueType::Decimal(DecimalType { precision, .. })) =
            (aggregation, &input)
            && *precision > MAX_SUM_PRECISION
        {
            self.error(line, format!("a summed decimal has at most {MAX_SUM_PRECISION} digits"));
        }
        Some(match aggregation {
            Aggregation::Count | Aggregation::DistinctCount => ValueType::Int64,
            Aggregation::Mean => ValueType::Float64,
            Aggregation::LastN(_) => ValueType::List(Box::new(input)),
            _ => input,
        })
    }

    /// The windows with the suffix that each gives to the name.
    fn windows(
        &mut self,
        line: u64,
        source: &FeatureSource,
        lateness: Option<i64>,
        view: &View,
    ) -> Vec<(Window, String)> {
        let (written, suffixed) = match (&source.window, &source.windows) {
            (Some(_), Some(_)) => {
                self.error(line, "write `window` or `windows`, not both");
                return Vec::new();
            }
            (Some(window), None) => (vec![window.clone()], false),
            (None, Some(windows)) if windows.is_empty() => {
                self.error(line, "`windows` is empty");
                return Vec::new();
            }
            (None, Some(windows)) => (windows.clone(), true),
            (None, None) => return vec![(Window::Lifetime, String::new())],
        };
        let mut windows = Vec::new();
        for window in &written {
            let Some((window, name)) = self.window(line, window, lateness) else { continue };
            if matches!(window, Window::Session { .. }) && (view.slots != Slots::Known || view.store != Store::Redis) {
                self.error(line, "a session needs a redis view of the entity that its events are partitioned by");
            }
            if view.store == Store::MongoDb && window != Window::Lifetime {
                self.error(line, "a mongodb view holds lifetime values only");
            }
            windows.push((window, if suffixed { format!("_{name}") } else { String::new() }));
        }
        windows
    }

    fn window(&mut self, line: u64, source: &WindowSource, lateness: Option<i64>) -> Option<(Window, String)> {
        let long = match source {
            WindowSource::Short(name) if name == "lifetime" => return Some((Window::Lifetime, name.clone())),
            WindowSource::Short(text) => {
                let size = self.duration(line, "window", text)?;
                return Some((Window::Sliding { size, hop: self.hop(line, size)? }, format_duration(size)));
            }
            WindowSource::Long(long) => long,
        };
        match (&long.sliding, &long.tumbling, &long.session) {
            (Some(size), None, None) => {
                let size = self.duration(line, "sliding", size)?;
                let hop = match &long.hop {
                    Some(hop) => self.duration(line, "hop", hop)?,
                    None => self.hop(line, size)?,
                };
                if hop > size || size / hop > 1_000 {
                    self.error(line, "a `hop` is at most the window and at least a thousandth of it");
                }
                Some((Window::Sliding { size, hop }, format_duration(size)))
            }
            (None, Some(size), None) if long.hop.is_none() => {
                let hop = self.duration(line, "tumbling", size)?;
                Some((Window::Sliding { size: 0, hop }, format!("tumbling_{}", format_duration(hop))))
            }
            (None, None, Some(gap)) if long.hop.is_none() => {
                let gap = self.duration(line, "session", gap)?;
                let window = Window::Session { gap, lateness: lateness.unwrap_or(gap) };
                Some((window, format!("session_{}", format_duration(gap))))
            }
            _ => {
                self.error(line, "a window is one of a duration, `lifetime`, {sliding: 7d, hop: 1h}, {tumbling: 1d}, {session: 30m}");
                None
            }
        }
    }

    fn hop(&mut self, line: u64, size: i64) -> Option<i64> {
        let hop = default_hop(size);
        if hop.is_none() {
            self.error(line, "a window past 1000d needs its hop: write {sliding: 2000d, hop: 30d}");
        }
        hop
    }

    fn services(&mut self, file: &File, views: &[View]) -> Vec<Service> {
        let mut services = Vec::new();
        for (name, spanned) in &file.services {
            let line = spanned.referenced.line();
            self.name(line, "service", name);
            let mut versions = BTreeMap::new();
            for (label, references) in &spanned.value {
                let Some(number) = label.strip_prefix('v').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n > 0)
                else {
                    self.error(line, format!("service `{name}`: a version is v1, v2, …, not `{label}`"));
                    continue;
                };
                if let Some(version) = self.service_version(line, name, references, views) {
                    versions.insert(number, version);
                }
            }
            services.push(Service { name: name.clone(), versions });
        }
        services
    }

    fn service_version(
        &mut self,
        line: u64,
        name: &str,
        references: &[Spanned<String>],
        views: &[View],
    ) -> Option<ServiceVersion> {
        let mut features = Vec::new();
        for reference in references {
            let at = reference.referenced.line();
            let found = reference.value.split_once(':').and_then(|(view, feature)| {
                let (view, version) = match view.split_once('@') {
                    None => (view, 1),
                    Some((view, version)) => (view, version.parse().ok()?),
                };
                let index = views.iter().position(|v| v.name == view && v.version == version)?;
                Some((index, views[index].feature(feature)?))
            });
            match found {
                Some(feature) => features.push(feature),
                None => self.error(at, format!("service `{name}`: there is no feature `{}`", reference.value)),
            }
        }
        let Some(first) = features.first() else {
            self.error(line, format!("service `{name}` names no feature"));
            return None;
        };
        let entity = views[first.0].entity;
        if features.iter().any(|(view, _)| views[*view].entity != entity) {
            self.error(line, format!("service `{name}`: its features belong to more than one entity"));
        }
        Some(ServiceVersion { entity, features })
    }
}

/// Names of an event that no key field may take.
const RESERVED: [&str; 6] = ["type", "id", "source", "time", "properties", "traceparent"];

/// Gives each event type the paths that its views read and the way to each input.
fn route(views: &[View], events: &mut [EventType]) {
    for (event_index, event) in events.iter_mut().enumerate() {
        for (view_index, view) in views.iter().enumerate() {
            let Some(key) = event.entities.iter().position(|entity| *entity == view.entity) else { continue };
            if !view.from.contains(&event_index) {
                continue;
            }
            let inputs = view.inputs.iter().map(|(source, kind)| route_input(event, source, kind)).collect();
            if view.store != Store::ClickHouse {
                event.routes.push(Route { view: view_index, key, inputs });
            }
        }
    }
}

fn route_input(event: &mut EventType, source: &InputSource, kind: &ValueType) -> RouteInput {
    match source {
        // A key that this type does not carry reads as absent: a property that cannot exist.
        InputSource::Key(entity) => match event.entities.iter().position(|carried| carried == entity) {
            Some(index) => RouteInput::Key(index),
            None => RouteInput::Key(usize::MAX),
        },
        InputSource::Property(segments) => {
            let index = match event.paths.iter().position(|path| path.segments == *segments) {
                Some(index) => index,
                None => {
                    event.paths.push(PropertyPath { segments: segments.clone(), decimal: None });
                    event.paths.len() - 1
                }
            };
            if let ValueType::Decimal(shape) = kind {
                let finest = &mut event.paths[index].decimal;
                *finest = Some(finest.map_or(*shape, |other| DecimalType {
                    precision: other.precision.max(shape.precision),
                    scale: other.scale.max(shape.scale),
                }));
            }
            let read = (index, kind.clone());
            if !event.reads.contains(&read) {
                event.reads.push(read);
            }
            RouteInput::Property(index)
        }
    }
}

fn index_of<T: PartialEq>(items: &mut Vec<T>, wanted: T) -> usize {
    items.iter().position(|item| *item == wanted).unwrap_or_else(|| {
        items.push(wanted);
        items.len() - 1
    })
}
