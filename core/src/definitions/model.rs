//! The compiled definitions: names resolved to indices, windows grouped, inputs routed. Immutable once built.

use std::collections::BTreeMap;

use crate::key::{InvalidKey, KeyText, KeyType};
use crate::schema::Schema;

use super::route::{PropertyPath, Route};
use super::schedule::Schedule;
use super::{DefinitionsSource, ValueType};

/// Everything that is in force under one version.
#[derive(Debug)]
pub struct Definitions {
    /// The text it was compiled from.
    pub source: DefinitionsSource,
    /// Entities, in the order of their names.
    pub entities: Vec<Entity>,
    /// Event types, in the order of their names.
    pub events: Vec<EventType>,
    /// Feature views, in declared order.
    pub views: Vec<View>,
    /// Services, in the order of their names.
    pub services: Vec<Service>,
}

/// A thing that features describe.
#[derive(Debug, PartialEq)]
pub struct Entity {
    /// Its name, used in keys and URLs.
    pub name: String,
    /// The fields that make its key, in order, with their types.
    pub key: Vec<(String, KeyType)>,
    /// For people.
    pub description: String,
}

/// A type of event.
#[derive(Debug)]
pub struct EventType {
    /// Its name.
    pub name: String,
    /// Index of the entity whose key decides the partition; one of `entities`.
    pub partition_by: usize,
    /// Indices of the entities whose keys an event carries. Only the partitioning one is required.
    pub entities: Vec<usize>,
    /// The schema of `properties`, if any.
    pub schema: Option<Schema>,
    /// The properties that any view reads, each once.
    pub paths: Vec<PropertyPath>,
    /// As which types those properties are read, by any view: what a valid event must be readable as.
    pub reads: Vec<(usize, ValueType)>,
    /// The streaming views that absorb this type, and where they find their inputs.
    pub routes: Vec<Route>,
    /// For people.
    pub description: String,
}

/// Where a view's values are kept, or computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Streamed into Redis hashes.
    Redis,
    /// Streamed into readable documents.
    MongoDb,
    /// Computed from the events at read.
    ClickHouse,
}

/// Which slots of a view can exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// One, in the partition that the key itself hashes to.
    Known,
    /// One per partition.
    All,
    /// One, which the runs of its query write.
    Batch,
}

/// Features of one entity that are absorbed, stored and versioned together.
#[derive(Debug, PartialEq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its version; a changed view needs a new one.
    pub version: u32,
    /// Index of the entity it describes.
    pub entity: usize,
    /// Indices of the event types it absorbs; a batch view has none.
    pub from: Vec<usize>,
    /// Where its values live.
    pub store: Store,
    /// Age of the newest event, or of a batch view's run, in ms, after which values answer `OUTSIDE_MAX_AGE`.
    pub ttl: Option<i64>,
    /// How long a reader may serve a value again without asking the store, in ms, 0 for never; none: as the reader is
    /// configured.
    pub cache: Option<i64>,
    /// Which slots can exist.
    pub slots: Slots,
    /// What its features read of an event, each once, with the type it is read as.
    pub inputs: Vec<(InputSource, ValueType)>,
    /// Its windows, each once; a slot holds one ring (or session list, or total) for each.
    pub windows: Vec<WindowSpec>,
    /// Its features, in declared order, windows spelled out.
    pub features: Vec<Feature>,
    /// How it is computed, if not from the stream.
    pub batch: Option<BatchQuery>,
    /// For people.
    pub description: String,
}

/// How a batch view is computed: a query over the warehouse, run as of some instant.
#[derive(Debug, PartialEq)]
pub struct BatchQuery {
    /// One SELECT. It returns the entity's key, each feature, and perhaps `event_time`, by name.
    pub query: String,
    /// When it is run; none: when somebody runs it.
    pub schedule: Option<Schedule>,
}

/// One window of a view and the features over it.
#[derive(Debug, PartialEq)]
pub struct WindowSpec {
    /// The window.
    pub window: Window,
    /// Indices into the view's features, in order; a tile holds one state for each.
    pub features: Vec<usize>,
}

/// One feature over one window.
#[derive(Debug, PartialEq)]
pub struct Feature {
    /// Full name, suffix included.
    pub name: String,
    /// How values are folded.
    pub aggregation: Aggregation,
    /// Index into the view's inputs; none for a `count` of entries.
    pub input: Option<usize>,
    /// Type of the finished value.
    pub value_type: ValueType,
    /// Index into the view's windows.
    pub window: usize,
    /// What a reader gets where there is no value.
    pub default: Option<serde_json::Value>,
    /// Whether entities are found by it quickly.
    pub index: bool,
    /// For people.
    pub description: String,
}

/// How values are folded into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// Entries, or non-null values where an input is named.
    Count,
    /// Their sum.
    Sum,
    /// Sum over count, a float.
    Mean,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The earliest by (feature time, event id, position).
    First,
    /// The latest by the same order.
    Last,
    /// The latest so many, newest first.
    LastN(u32),
    /// How many different ones, exact to [`crate::aggregate::MAX_DISTINCT`].
    DistinctCount,
}

/// Which entries count, as seen at `t`. All numbers are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// All of them.
    Lifetime,
    /// Feature time in `[floor(t − size, hop), t]`. A tumbling window of `W` is `size` 0 with `hop` W.
    Sliding {
        /// Length.
        size: i64,
        /// Length of a tile.
        hop: i64,
    },
    /// The chain of entries, each at most `gap` after the one before, whose end is at most `gap` before `t`.
    Session {
        /// The longest pause inside a session.
        gap: i64,
        /// How far behind the newest an entry may be and still count.
        lateness: i64,
    },
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputSource {
    /// The key of this entity.
    Key(usize),
    /// A path below `properties`.
    Property(Vec<String>),
    /// A column of a batch view's query.
    Column(String),
}

/// A named list of features that a model reads.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its versions, by number.
    pub versions: BTreeMap<u32, ServiceVersion>,
}

/// One version of a service.
#[derive(Debug, PartialEq)]
pub struct ServiceVersion {
    /// Index of the one entity that its features describe.
    pub entity: usize,
    /// (view, feature) indices in declared order.
    pub features: Vec<(usize, usize)>,
}

impl Definitions {
    /// The entity of that name.
    pub fn entity(&self, name: &str) -> Option<(usize, &Entity)> {
        self.entities.iter().enumerate().find(|(_, entity)| entity.name == name)
    }

    /// The event type of that name.
    pub fn event(&self, name: &str) -> Option<(usize, &EventType)> {
        self.events.iter().enumerate().find(|(_, event)| event.name == name)
    }

    /// The view of that name and version; without a version, version 1.
    pub fn view(&self, name: &str, version: Option<u32>) -> Option<(usize, &View)> {
        let version = version.unwrap_or(1);
        self.views.iter().enumerate().find(|(_, view)| view.name == name && view.version == version)
    }

    /// Resolves `view:feature` or `view@2:feature`.
    pub fn feature(&self, reference: &str) -> Option<(usize, usize)> {
        let (view, feature) = reference.split_once(':')?;
        let (name, version) = split_version(view)?;
        let (index, view) = self.view(name, version)?;
        Some((index, view.feature(feature)?))
    }

    /// Resolves `fraud` (version 1) or `fraud@2`.
    pub fn service(&self, reference: &str) -> Option<&ServiceVersion> {
        let (name, version) = split_version(reference)?;
        let service = self.services.iter().find(|service| service.name == name)?;
        service.versions.get(&version.unwrap_or(1))
    }
}

impl Entity {
    /// Reads a key as people and URLs give it.
    pub fn parse_key(&self, text: &str) -> Result<KeyText, InvalidKey> {
        let types: Vec<KeyType> = self.key.iter().map(|(_, kind)| *kind).collect();
        KeyText::parse(&types, text)
    }

    /// Whether a text is the canonical one of a key.
    pub fn is_canonical(&self, text: &str) -> bool {
        KeyText::is_canonical(self.key.iter().map(|(_, kind)| *kind), text)
    }
}

impl View {
    /// `name@version`, the prefix of its slots.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// `name@version-run`, the name of a run of a batch view.
    pub fn job_id(&self, run: u32) -> String {
        format!("{}-{run}", self.id())
    }

    /// `view:feature`, with `@version` only where it is not 1: the name of a value in answers.
    pub fn reference(&self, feature: usize) -> String {
        let name = self.features.get(feature).map_or("", |f| f.name.as_str());
        if self.version == 1 { format!("{}:{name}", self.name) } else { format!("{}:{name}", self.id()) }
    }

    /// Index of the feature of that full name.
    pub fn feature(&self, name: &str) -> Option<usize> {
        self.features.iter().position(|feature| feature.name == name)
    }

    /// How long after its newest event a slot still matters, in ms; none: for ever.
    pub fn horizon(&self) -> Option<i64> {
        self.windows.iter().map(|spec| spec.window.horizon()).try_fold(0, |longest, h| Some(longest.max(h?)))
    }
}

impl Window {
    /// How long after an event the window can still hold it, in ms; none: for ever.
    pub fn horizon(&self) -> Option<i64> {
        match self {
            Self::Lifetime => None,
            Self::Sliding { size, hop } => Some(size + hop),
            Self::Session { gap, lateness } => Some(gap + lateness),
        }
    }
}

fn split_version(reference: &str) -> Option<(&str, Option<u32>)> {
    match reference.split_once('@') {
        None => Some((reference, None)),
        Some((name, version)) => Some((name, Some(version.parse().ok()?))),
    }
}
