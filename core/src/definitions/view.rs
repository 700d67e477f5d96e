//! Feature views: which features are absorbed, stored and versioned together, over which windows, and where they are kept.

use super::ValueType;
use super::reference::VersionedName;
use super::schedule::Schedule;
use crate::aggregate::Aggregate;
use crate::window::Window;

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
    /// How long a reader may serve a value again without asking the store, in ms; 0 is never. None: as the reader is
    /// configured.
    pub cache: Option<i64>,
    /// Which slots can exist.
    pub slots: Slots,
    /// The inputs that its features read from an event or a row, each once, with the type it is read as.
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
    /// When it is run. None: only when a person starts it.
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
    /// How values are folded, with its options and the type of its input.
    pub aggregate: Aggregate,
    /// Index into the view's inputs; None for a `count` of entries.
    pub input: Option<usize>,
    /// Type of the finished value.
    pub value_type: ValueType,
    /// Index into the view's windows.
    pub window: usize,
    /// The value that a reader gets where the feature has none.
    pub default: Option<serde_json::Value>,
    /// Whether entities are found by it quickly.
    pub index: bool,
    /// For people.
    pub description: String,
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

impl View {
    /// `name@version`, the prefix of its slots.
    pub fn id(&self) -> String {
        VersionedName::new(&self.name, self.version).to_string()
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

    /// How long after its newest event a slot still matters, in ms; None for ever.
    pub fn horizon(&self) -> Option<i64> {
        self.windows.iter().map(|spec| spec.window.horizon()).try_fold(0, |longest, h| Some(longest.max(h?)))
    }
}
