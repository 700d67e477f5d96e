//! The definitions, as GraphQL shows them. Types refer to each other by name, so that a query cannot nest them in a circle.

use async_graphql::{Enum, Json, SimpleObject};
use millrace_core::definitions::{self, Definitions, format_duration};
use millrace_core::key::KeyType;
use millrace_core::window::{Cut, Span};

use crate::catalog::{input_text, key_type, option_n};

/// The store that keeps or computes the values of a view.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "millrace_core::definitions::Store")]
pub enum Store {
    /// Values are streamed into Redis.
    Redis,
    /// Values are streamed into documents.
    #[graphql(name = "MONGODB")]
    MongoDb,
    /// Values are computed from the events when they are read.
    #[graphql(name = "CLICKHOUSE")]
    ClickHouse,
}

/// A thing that features describe.
#[derive(SimpleObject)]
pub struct Entity {
    /// The name.
    name: String,
    /// The parts of its key, in order.
    key: Vec<KeyPart>,
    /// A description for people.
    description: String,
    /// The views that describe it, each as `name@version`.
    views: Vec<String>,
}

/// One part of a key.
#[derive(SimpleObject)]
pub struct KeyPart {
    /// The field that holds it in events.
    name: String,
    /// The type: `int64` or `string`.
    r#type: String,
}

/// A group of features of one entity that are computed, stored and versioned together.
#[derive(SimpleObject)]
pub struct View {
    /// The name.
    name: String,
    /// The version.
    version: u32,
    /// The entity that it describes.
    entity: String,
    /// The event types that it reads.
    from: Vec<String>,
    /// The store that keeps or computes its values.
    store: Store,
    /// The age of the newest event from which on values have the status `OUTSIDE_MAX_AGE`, such as `1h`.
    ttl: Option<String>,
    /// How long a value may be served again without asking the store, such as `60s`. Null means as the server is configured.
    cache: Option<String>,
    /// A description for people.
    description: String,
    /// Its features, in declared order.
    features: Vec<Feature>,
}

/// One feature over one window.
#[derive(SimpleObject)]
pub struct Feature {
    /// The name, with its window.
    name: String,
    /// The reference that requests use: `view:feature`.
    reference: String,
    /// The type of its value, such as `decimal(18,2)`.
    r#type: String,
    /// The aggregate, such as `sum`.
    agg: String,
    /// The number of values that it keeps, where `agg` is `last_n`.
    n: Option<u32>,
    /// The part of an event that it reads: `properties.a.b`, or a key field.
    value: Option<String>,
    /// The events that count.
    window: Window,
    /// The value that a reader gets in place of a missing one.
    default: Option<Json<serde_json::Value>>,
    /// A description for people.
    description: String,
}

/// The events that count at an instant.
#[derive(SimpleObject)]
pub struct Window {
    /// The kind of window.
    kind: WindowKind,
    /// The length of a sliding or tumbling window, or the gap that ends a session, such as `7d`.
    length: Option<String>,
    /// The step in which a sliding window moves.
    hop: Option<String>,
    /// How much older than the newest event an event may be to count in a session.
    lateness: Option<String>,
}

/// The kinds of windows.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub enum WindowKind {
    /// All events count.
    Lifetime,
    /// The events of the last `length` count.
    Sliding,
    /// The events since the last multiple of `length` count.
    Tumbling,
    /// The last chain of events without a gap longer than `length` counts.
    Session,
}

/// A named list of features that a model reads.
#[derive(SimpleObject)]
pub struct Service {
    /// The name.
    name: String,
    /// Its versions, the oldest first.
    versions: Vec<ServiceVersion>,
}

/// One version of a service. It never changes.
#[derive(SimpleObject)]
pub struct ServiceVersion {
    /// The name of the service.
    name: String,
    /// The number of the version.
    version: u32,
    /// The reference that requests use: `fraud@2`.
    reference: String,
    /// The entity that its features describe.
    entity: String,
    /// The references of its features, in declared order.
    features: Vec<String>,
}

impl Entity {
    /// Describes the `index`th entity of the definitions.
    pub fn new(definitions: &Definitions, index: usize) -> Self {
        let entity = &definitions.entities[index];
        let part =
            |(name, kind): &(String, KeyType)| KeyPart { name: name.clone(), r#type: key_type(*kind).to_owned() };
        Self {
            name: entity.name.clone(),
            key: entity.key.iter().map(part).collect(),
            description: entity.description.clone(),
            views: definitions.views.iter().filter(|view| view.entity == index).map(definitions::View::id).collect(),
        }
    }
}

impl View {
    /// Describes what is declared.
    pub fn new(definitions: &Definitions, view: &definitions::View) -> Self {
        Self {
            name: view.name.clone(),
            version: view.version,
            entity: definitions.entities[view.entity].name.clone(),
            from: view.from.iter().map(|index| definitions.events[*index].name.clone()).collect(),
            store: view.store.into(),
            ttl: view.ttl.map(format_duration),
            cache: view.cache.map(format_duration),
            description: view.description.clone(),
            features: (0..view.features.len()).map(|index| Feature::new(definitions, view, index)).collect(),
        }
    }
}

impl Feature {
    fn new(definitions: &Definitions, view: &definitions::View, index: usize) -> Self {
        let feature = &view.features[index];
        Self {
            name: feature.name.clone(),
            reference: view.reference(index),
            r#type: feature.value_type.to_string(),
            agg: feature.aggregate.name().to_owned(),
            n: option_n(feature),
            value: feature.input.map(|input| input_text(definitions, &view.inputs[input].0)),
            window: view.windows[feature.window].window.into(),
            default: feature.default.clone().map(Json),
            description: feature.description.clone(),
        }
    }
}

impl From<definitions::Window> for Window {
    fn from(window: definitions::Window) -> Self {
        use definitions::Window::{Lifetime, Session, Tiled};
        let of = |kind, length| Self { kind, length, hop: None, lateness: None };
        match window {
            Lifetime => of(WindowKind::Lifetime, None),
            Tiled { cut: Cut::Every(hop), span: Span::Tile } => of(WindowKind::Tumbling, Some(format_duration(hop))),
            Tiled { cut: Cut::Every(hop), span: Span::Sliding(size) } => {
                Self { hop: Some(format_duration(hop)), ..of(WindowKind::Sliding, Some(format_duration(size))) }
            }
            Session { gap, lateness } => Self {
                lateness: Some(format_duration(lateness)),
                ..of(WindowKind::Session, Some(format_duration(gap)))
            },
        }
    }
}

impl Service {
    /// Describes what is declared.
    pub fn new(definitions: &Definitions, service: &definitions::Service) -> Self {
        let versions = service.versions.keys();
        let versions = versions.filter_map(|version| ServiceVersion::new(definitions, service, *version));
        Self { name: service.name.clone(), versions: versions.collect() }
    }
}

impl ServiceVersion {
    /// The number of its features.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Describes what is declared. None where the version does not exist.
    pub fn new(definitions: &Definitions, service: &definitions::Service, version: u32) -> Option<Self> {
        let declared = service.versions.get(&version)?;
        let features = declared.features.iter();
        Some(Self {
            name: service.name.clone(),
            version,
            reference: format!("{}@{version}", service.name),
            entity: definitions.entities[declared.entity].name.clone(),
            features: features.map(|(view, feature)| definitions.views[*view].reference(*feature)).collect(),
        })
    }
}
