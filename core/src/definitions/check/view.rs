//! Views and their features: what each reads, how it is folded, what it answers.

use serde_json::Value as Json;
use serde_saphyr::Spanned;

use super::Checker;
use crate::aggregate::Aggregate;
use crate::codec;
use crate::definitions::ValueType;
use crate::definitions::entity::Entity;
use crate::definitions::event_type::EventType;
use crate::definitions::source::{FeatureSource, File, ViewSource};
use crate::definitions::view::{Feature, InputSource, Slots, Store, View, WindowSpec};
use crate::key::KeyType;
use crate::scalar::Scalar;

const MIB: u64 = 1024 * 1024;

impl Checker {
    pub(super) fn views(&mut self, file: &File, entities: &[Entity], events: &[EventType]) -> Vec<View> {
        let mut views: Vec<View> = Vec::new();
        for spanned in &file.views {
            let line = spanned.referenced.line();
            self.name(line, "view", &spanned.value.name);
            let Some(view) = self.view(line, &spanned.value, entities, events) else { continue };
            if view.version == 0 {
                self.error(line, "a view's `version` starts at 1");
            }
            if spanned.value.features.is_empty() {
                self.error(line, format!("view `{}` has no features", view.name));
            }
            if views.iter().any(|other| other.name == view.name && other.version == view.version) {
                self.error(line, format!("view `{}` is declared twice", view.id()));
            }
            self.size(line, &view);
            views.push(view);
        }
        views
    }

    /// A state that its store could not take would hold up a partition for good; a view that could come to it is refused
    /// before it has one.
    fn size(&mut self, line: u64, view: &View) {
        let (store, bytes, most) = match view.store {
            Store::Redis => ("redis", codec::max_bytes(view), codec::MAX_SLOT_BYTES),
            Store::MongoDb => ("mongodb", codec::max_document_bytes(view), codec::MAX_DOCUMENT_BYTES),
            Store::ClickHouse => return,
        };
        if bytes > most {
            let (could, most) = (bytes.div_ceil(MIB), most.div_ceil(MIB));
            self.error(
                line,
                format!(
                    "view `{}`: what it keeps of one key could take {could} MiB, and {store} gets {most} MiB at most; \
                     write a smaller `n`, fewer windows or a longer `hop`, or move features to another view",
                    view.id()
                ),
            );
        }
    }

    fn view(&mut self, line: u64, source: &ViewSource, entities: &[Entity], events: &[EventType]) -> Option<View> {
        if let Some(query) = &source.query {
            return self.batch_view(line, source, query, entities);
        }
        let entity = self.find(line, "entity", &source.entity, entities, |e| &e.name)?;
        if source.schedule.is_some() {
            self.error(line, "`schedule` belongs to batch views, which have a `query`");
        }
        let mut from = Vec::new();
        for name in &source.from {
            let Some(index) = self.find(line, "event", name, events, |e| &e.name) else { continue };
            if !events[index].entities.contains(&entity) {
                self.error(line, format!("event `{name}` carries no key of entity `{}`", source.entity));
            }
            from.push(index);
        }
        if source.from.is_empty() {
            self.error(line, "`from` names no event; a batch view has a `query` instead");
        }
        let store = match source.store.as_deref() {
            None | Some("redis") => Store::Redis,
            Some("mongodb") => Store::MongoDb,
            Some("clickhouse") => Store::ClickHouse,
            Some(other) => {
                self.error(line, format!("store `{other}` is not known; expected redis, mongodb or clickhouse"));
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
            cache: self.cache(line, source, store),
            slots: if known { Slots::Known } else { Slots::All },
            inputs: Vec::new(),
            windows: Vec::new(),
            features: Vec::new(),
            batch: None,
            description: source.description.clone(),
        };
        if store == Store::MongoDb && !known {
            self.error(line, "a mongodb view holds the entity that its events are partitioned by");
        }
        let lateness = source.lateness.as_ref().and_then(|text| self.duration(line, "lateness", text));
        for feature in &source.features {
            self.feature(feature, lateness, &mut view, entities);
        }
        Some(view)
    }

    /// How long values may be served again. Those in Redis never are: they are kept there to be fresh.
    pub(super) fn cache(&mut self, line: u64, source: &ViewSource, store: Store) -> Option<i64> {
        let text = source.cache.as_deref()?;
        if store == Store::Redis {
            self.error(line, "`cache` belongs to mongodb and clickhouse views; what is in redis is read every time");
            return None;
        }
        if ["0s", "0ms"].contains(&text) { Some(0) } else { self.duration(line, "cache", text) }
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
        let input = match &source.value {
            None => None,
            Some(value) => match self.input(line, value, source, entities) {
                None => return,
                input => input,
            },
        };
        let Some(aggregate) = self.aggregate(line, source, view, input.as_ref().map(|(_, kind)| kind)) else { return };
        let value_type = aggregate.output();
        let input = input.map(|wanted| index_of(&mut view.inputs, wanted));
        self.index(line, source, view.store, &value_type);
        let default = self.default(line, source, &value_type);
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
                aggregate: aggregate.clone(),
                input,
                value_type: value_type.clone(),
                window: index,
                default: default.clone(),
                index: source.index,
                description: source.description.clone(),
            });
        }
    }

    /// Entities are found by plain values in MongoDB.
    pub(super) fn index(&mut self, line: u64, source: &FeatureSource, store: Store, kind: &ValueType) {
        if source.index && store != Store::MongoDb {
            self.error(line, "`index` belongs to mongodb views, whose entities can be found by their values");
        }
        if source.index && !kind.is_scalar() {
            self.error(line, format!("no entity is found by a {kind}; take `index` away"));
        }
    }

    /// The default in the form that values of the type have, because readers cannot tell one from the other.
    pub(super) fn default(&mut self, line: u64, source: &FeatureSource, kind: &ValueType) -> Option<Json> {
        let written = source.default.as_ref()?;
        match Scalar::read(&written.to_string(), kind) {
            Ok(Some(value)) => Some(value.to_json(kind)),
            // An empty map is null in an event, but it can be a default. Null means that there is no default.
            Ok(None) => written.is_object().then(|| written.clone()),
            Err(error) => {
                let name = &source.name;
                self.error(line, format!("`default` {written} of `{name}` is not a value of type {kind}: {error}"));
                None
            }
        }
    }

    fn aggregate(
        &mut self,
        line: u64,
        source: &FeatureSource,
        view: &View,
        input: Option<&ValueType>,
    ) -> Option<Aggregate> {
        let Some(agg) = source.agg.as_deref() else {
            self.error(line, format!("`agg` of `{}` is missing; write for example count or sum", source.name));
            return None;
        };
        match Aggregate::parse(agg, source.options.clone(), input) {
            Ok(aggregate) => Some(aggregate),
            Err(error) => {
                self.error(line, format!("`{}:{}`: {error}", view.name, source.name));
                None
            }
        }
    }

    /// Returns the source of the feature's input and its type. A property without a declared type has `Any`; a key has
    /// the type that its entity declares. Notes an error and returns None where `value` or its type is not
    /// valid.
    fn input(
        &mut self,
        line: u64,
        value: &str,
        source: &FeatureSource,
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
            let kind = declared.unwrap_or(ValueType::Any);
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
}

fn index_of<T: PartialEq>(items: &mut Vec<T>, wanted: T) -> usize {
    items.iter().position(|item| *item == wanted).unwrap_or_else(|| {
        items.push(wanted);
        items.len() - 1
    })
}
