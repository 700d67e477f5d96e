//! What is declared, as GraphQL shows it. Types name each other rather than contain each other, so that no query can
//! go round in circles.

use async_graphql::{Enum, Json, SimpleObject};
use millrace_core::definitions::{self, Definitions, format_duration};
use millrace_core::key::KeyType;

use crate::catalog::{aggregation, input_text, key_type};

/// Where a view's values are kept, or computed.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "millrace_core::definitions::Store")]
pub enum Store {
    /// Streamed into Redis.
    Redis,
    /// Streamed into documents.
    #[graphql(name = "MONGODB")]
    MongoDb,
    /// Computed from the events at read.
    #[graphql(name = "CLICKHOUSE")]
    ClickHouse,
}

/// A thing that features describe.
#[derive(SimpleObject)]
pub struct Entity {
    /// Its name.
    name: String,
    /// What makes its key, in order.
    key: Vec<KeyPart>,
    /// For people.
    description: String,
    /// `name@version` of the views that describe it.
    views: Vec<String>,
}

/// One part of a key.
#[derive(SimpleObject)]
pub struct KeyPart {
    /// The field in events.
    name: String,
    /// `int64` or `string`.
    r#type: String,
}

/// Features of one entity that are absorbed, stored and versioned together.
#[derive(SimpleObject)]
pub struct View {
    /// Its name.
    name: String,
    /// Its version.
    version: u32,
    /// The entity that it describes.
    entity: String,
    /// The types of event that it absorbs.
    from: Vec<String>,
    /// Where its values live.
    store: Store,
    /// Age of the newest event after which values answer `OUTSIDE_MAX_AGE`, such as `1h`.
    ttl: Option<String>,
    /// How long a value may be served again without asking the store, such as `60s`; null: as the server is configured.
    cache: Option<String>,
    /// For people.
    description: String,
    /// Its features, in declared order.
    features: Vec<Feature>,
}

/// One feature over one window.
#[derive(SimpleObject)]
pub struct Feature {
    /// Its name, window included.
    name: String,
    /// What requests call it: `view:feature`.
    reference: String,
    /// Type of its value, such as `decimal(18,2)`.
    r#type: String,
    /// How values are folded.
    agg: String,
    /// How many values it keeps, where `agg` is `last_n`.
    n: Option<u32>,
    /// What it reads of an event: `properties.a.b`, or a key field.
    value: Option<String>,
    /// Which events count.
    window: Window,
    /// What a reader gets where there is no value.
    default: Option<Json<serde_json::Value>>,
    /// For people.
    description: String,
}

/// Which events count, as seen at an instant.
#[derive(SimpleObject)]
pub struct Window {
    /// Of which kind.
    kind: WindowKind,
    /// Length of a sliding or tumbling window, or the gap that ends a session, such as `7d`.
    length: Option<String>,
    /// By how much a sliding window moves at once.
    hop: Option<String>,
    /// How far behind the newest an event may be and still count into a session.
    lateness: Option<String>,
}

/// Kinds of windows.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub enum WindowKind {
    /// All events.
    Lifetime,
    /// The last so long.
    Sliding,
    /// Since the last multiple of so long.
    Tumbling,
    /// The last chain of events without a longer gap.
    Session,
}

/// A named list of features that a model reads.
#[derive(SimpleObject)]
pub struct Service {
    /// Its name.
    name: String,
    /// Its versions, the oldest first.
    versions: Vec<ServiceVersion>,
}

/// One version of a service; it never changes.
#[derive(SimpleObject)]
pub struct ServiceVersion {
    /// The service.
    name: String,
    /// Its number.
    version: u32,
    /// What requests call it: `fraud@2`.
    reference: String,
    /// The entity that its features describe.
    entity: String,
    /// References of its features, in declared order.
    features: Vec<String>,
}

impl Entity {
    /// The `index`th of the definitions.
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
    /// As declared.
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
        let (agg, n) = aggregation(feature.aggregation);
        Self {
            name: feature.name.clone(),
            reference: view.reference(index),
            r#type: feature.value_type.to_string(),
            agg: agg.to_owned(),
            n,
            value: feature.input.map(|input| input_text(definitions, &view.inputs[input].0)),
            window: view.windows[feature.window].window.into(),
            default: feature.default.clone().map(Json),
            description: feature.description.clone(),
        }
    }
}

impl From<definitions::Window> for Window {
    fn from(window: definitions::Window) -> Self {
        use definitions::Window::{Lifetime, Session, Sliding};
        let of = |kind, length| Self { kind, length, hop: None, lateness: None };
        match window {
            Lifetime => of(WindowKind::Lifetime, None),
            Sliding { size: 0, hop } => of(WindowKind::Tumbling, Some(format_duration(hop))),
            Sliding { size, hop } => {
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
    /// As declared.
    pub fn new(definitions: &Definitions, service: &definitions::Service) -> Self {
        let versions = service.versions.keys();
        let versions = versions.filter_map(|version| ServiceVersion::new(definitions, service, *version));
        Self { name: service.name.clone(), versions: versions.collect() }
    }
}

impl ServiceVersion {
    /// How many features it has.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// As declared; none if there is no such version.
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
