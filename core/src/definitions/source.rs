//! Definitions as written: the YAML text with its schemas, and the shape that the text must have. Kept whole beside
//! the log, so that every process compiles the same thing.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use crate::aggregate::Options;

/// The YAML and the JSON Schemas it names: what `apply` stores under a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionsSource {
    /// The text of the definitions file.
    pub yaml: String,
    /// Schemas by the path that the text names them by.
    #[serde(default)]
    pub schemas: BTreeMap<String, serde_json::Value>,
}

impl DefinitionsSource {
    /// The JSON Schema of that event type's properties, if it has one.
    pub fn schema_of(&self, event: &str) -> Option<&serde_json::Value> {
        let file = serde_saphyr::from_str::<File>(&self.yaml).ok()?;
        self.schemas.get(file.events.get(event)?.value.schema.as_ref()?)
    }

    /// The schema files that a definitions text names, so that they can be read. Leaves out a path that leads out of
    /// the folder, and all paths of a text that cannot be parsed: compiling the text reports these.
    pub fn schema_files(yaml: &str) -> Vec<SchemaFile> {
        let Ok(file) = serde_saphyr::from_str::<File>(yaml) else { return Vec::new() };
        let named = file.events.into_iter().filter_map(|(event, spanned)| {
            let line = spanned.referenced.line();
            spanned.value.schema.map(|path| SchemaFile { path, event, line })
        });
        named.filter(|file| is_inside(&file.path)).collect()
    }
}

/// A schema file, and the event type that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFile {
    /// Its path beside the definitions, as they write it.
    pub path: String,
    /// The event type.
    pub event: String,
    /// The line of the event type.
    pub line: u64,
}

/// Whether a path stays in the folder that it starts from: what `apply` reads is stored for all to see.
pub(super) fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub entities: BTreeMap<String, Spanned<EntitySource>>,
    #[serde(default)]
    pub events: BTreeMap<String, Spanned<EventSource>>,
    #[serde(default)]
    pub views: Vec<Spanned<ViewSource>>,
    #[serde(default)]
    pub services: BTreeMap<String, Spanned<ServiceSource>>,
}

/// Versions (`v1`, …) with the features of each.
pub(super) type ServiceSource = BTreeMap<String, Vec<Spanned<String>>>;

/// One value or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn to_vec(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntitySource {
    pub key: OneOrMany,
    #[serde(rename = "type")]
    pub kind: OneOrMany,
    #[serde(default)]
    pub description: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventSource {
    pub partition_by: String,
    #[serde(default)]
    pub entities: Vec<String>,
    pub schema: Option<String>,
    #[serde(default)]
    pub description: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ViewSource {
    pub name: String,
    pub version: Option<u32>,
    pub entity: String,
    #[serde(default)]
    pub from: Vec<String>,
    pub query: Option<String>,
    pub schedule: Option<Spanned<ScheduleSource>>,
    pub store: Option<String>,
    pub ttl: Option<String>,
    pub cache: Option<String>,
    pub lateness: Option<String>,
    #[serde(default)]
    pub description: String,
    pub features: Vec<Spanned<FeatureSource>>,
}

/// When a batch view is computed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleSource {
    pub cron: String,
    pub time_zone: Option<String>,
}

/// Fields that are not named here are options of the aggregate, which refuses those that it does not know.
#[derive(Debug, Deserialize)]
pub(super) struct FeatureSource {
    pub name: String,
    pub agg: Option<String>,
    pub value: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub window: Option<WindowSource>,
    pub windows: Option<Vec<WindowSource>>,
    pub default: Option<serde_json::Value>,
    #[serde(default)]
    pub index: bool,
    #[serde(default)]
    pub description: String,
    #[serde(flatten)]
    pub options: Options,
}

/// `5m`, `lifetime`, or one of the long forms.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum WindowSource {
    Short(String),
    Long(LongWindow),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LongWindow {
    pub sliding: Option<String>,
    pub hop: Option<String>,
    pub tumbling: Option<String>,
    pub session: Option<String>,
}
