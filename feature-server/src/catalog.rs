//! The answer of `GET /v1/catalog`: the definitions, for people and tools. It is made once per version of the definitions.

use millrace_core::definitions::{Definitions, Feature, InputSource, Store, View, Window, format_duration};
use millrace_core::key::KeyType;
use millrace_core::window::{Cut, Span};
use serde_json::{Value as Json, json};

/// Everything that a version of the definitions declares.
pub fn catalog(definitions: &Definitions, version: u32) -> Json {
    json!({
        "version": version,
        "entities": entities(definitions),
        "events": events(definitions),
        "views": definitions.views.iter().map(|view| view_entry(definitions, view)).collect::<Json>(),
        "services": services(definitions),
    })
}

fn entities(definitions: &Definitions) -> Json {
    let part = |(name, kind): &(String, KeyType)| json!({ "name": name, "type": key_type(*kind) });
    let one = |entity: &millrace_core::definitions::Entity| {
        let key: Json = entity.key.iter().map(part).collect();
        json!({ "name": entity.name, "key": key, "description": entity.description })
    };
    definitions.entities.iter().map(one).collect()
}

fn events(definitions: &Definitions) -> Json {
    let name = |index: usize| definitions.entities[index].name.as_str();
    let one = |event: &millrace_core::definitions::EventType| {
        json!({
            "name": event.name,
            "partition_by": name(event.partition_by),
            "entities": event.entities.iter().map(|index| name(*index)).collect::<Json>(),
            "has_schema": event.schema.is_some(),
            "description": event.description,
        })
    };
    definitions.events.iter().map(one).collect()
}

fn view_entry(definitions: &Definitions, view: &View) -> Json {
    let features = view.features.iter().enumerate();
    json!({
        "name": view.name,
        "version": view.version,
        "entity": definitions.entities[view.entity].name,
        "query": view.batch.as_ref().map(|batch| batch.query.as_str()),
        "schedule": view.batch.as_ref().and_then(|batch| batch.schedule.as_ref()).map(ToString::to_string),
        "from": view.from.iter().map(|index| definitions.events[*index].name.as_str()).collect::<Json>(),
        "store": store_name(view.store),
        "ttl": view.ttl.map(format_duration),
        "cache": view.cache.map(format_duration),
        "description": view.description,
        "features": features.map(|(index, feature)| feature_entry(definitions, view, index, feature)).collect::<Json>(),
    })
}

fn feature_entry(definitions: &Definitions, view: &View, index: usize, feature: &Feature) -> Json {
    json!({
        "name": feature.name,
        "reference": view.reference(index),
        "type": feature.value_type.to_string(),
        "agg": feature.aggregate.name(),
        "n": option_n(feature),
        "value": feature.input.map(|input| input_text(definitions, &view.inputs[input].0)),
        "window": window(view.windows[feature.window].window),
        "default": feature.default,
        "description": feature.description,
    })
}

fn services(definitions: &Definitions) -> Json {
    let one = |service: &millrace_core::definitions::Service| {
        let versions = service.versions.iter().map(|(number, version)| {
            let features = version.features.iter();
            json!({
                "version": number,
                "entity": definitions.entities[version.entity].name,
                "features": features.map(|(view, f)| definitions.views[*view].reference(*f)).collect::<Json>(),
            })
        });
        json!({ "name": service.name, "versions": versions.collect::<Json>() })
    };
    definitions.services.iter().map(one).collect()
}

/// The name of a store in definitions and answers.
pub fn store_name(store: Store) -> &'static str {
    match store {
        Store::Redis => "redis",
        Store::MongoDb => "mongodb",
        Store::ClickHouse => "clickhouse",
    }
}

/// The name of a key type in definitions.
pub fn key_type(kind: KeyType) -> &'static str {
    match kind {
        KeyType::Int64 => "int64",
        KeyType::String => "string",
    }
}

/// The option `n` of an aggregate that has it.
pub fn option_n(feature: &Feature) -> Option<u32> {
    let n = feature.aggregate.options().into_iter().find(|(name, _)| *name == "n")?.1;
    u32::try_from(n.as_u64()?).ok()
}

/// The part of an event that a feature reads, as definitions write it.
pub fn input_text(definitions: &Definitions, source: &InputSource) -> String {
    match source {
        InputSource::Property(segments) => format!("properties.{}", segments.join(".")),
        InputSource::Column(name) => name.clone(),
        InputSource::Key(entity) => {
            definitions.entities[*entity].key.first().map_or_else(String::new, |(field, _)| field.clone())
        }
    }
}

fn window(window: Window) -> Json {
    match window {
        Window::Lifetime => json!("lifetime"),
        Window::Tiled { cut: Cut::Every(hop), span: Span::Tile } => json!({ "tumbling": format_duration(hop) }),
        Window::Tiled { cut: Cut::Every(hop), span: Span::Sliding(size) } => {
            json!({ "sliding": format_duration(size), "hop": format_duration(hop) })
        }
        Window::Session { gap, lateness } => {
            json!({ "session": format_duration(gap), "lateness": format_duration(lateness) })
        }
    }
}
