//! Writing a REST answer: the feature server's hand-written `JsonWriter` beside `serde_json`, for the same document of 100
//! keys with 8 features each. Runs on one thread of this process, so "load" is the CPU time of the side that is measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use millrace_feature_server::fast_path::json::{JsonResult, JsonWriter};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::config::Scale;
use crate::cpu::Processes;
use crate::report::{Report, Round, Row};

const KEYS: i64 = 100;
/// Bytes that the writer reserves for a value, as in the feature server.
const VALUE_BYTES: usize = 64;
const METADATA_BYTES: usize = 192;

/// An answer before it is written.
#[derive(serde::Serialize)]
struct Document {
    entity: &'static str,
    results: Vec<EntityDocument>,
    #[serde(serialize_with = "instant")]
    as_of: i64,
    #[serde(skip)]
    metadata: bool,
}

#[derive(serde::Serialize)]
struct EntityDocument {
    key: i64,
    status: &'static str,
    #[serde(serialize_with = "as_object")]
    values: Vec<(String, Value)>,
    #[serde(serialize_with = "as_object", skip_serializing_if = "Vec::is_empty")]
    metadata: Vec<(String, MetadataDocument)>,
}

#[derive(serde::Serialize)]
struct MetadataDocument {
    status: &'static str,
    #[serde(serialize_with = "instant")]
    event_time: i64,
    source: &'static str,
    view: &'static str,
    version: u32,
}

/// Values alone, then with metadata.
pub fn run(scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    for (what, metadata) in [("JSON of 8 features of 100 keys", false), ("the same with metadata", true)] {
        let document = document(metadata);
        let mut row = Row::new(what, "documents/s", "serde_json", None);
        for _ in 0..scale.rounds {
            row.ours.push(round(scale, || by_hand(&document))?);
            row.bare.push(round(scale, || serde_json::to_vec(&document))?);
            row.progress();
        }
        report.add(row);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn round(scale: &Scale, write: impl Fn() -> Result<Vec<u8>, serde_json::Error>) -> anyhow::Result<Round> {
    write_for(scale.warm, &write)?;
    let processes = Processes::with_load();
    let (before, begun) = (processes.read(), Instant::now());
    let documents = write_for(scale.measured, &write)? as f64;
    Ok(Round::of(documents / begun.elapsed().as_secs_f64(), processes.per_million(&before, documents)))
}

fn write_for(time: Duration, write: impl Fn() -> Result<Vec<u8>, serde_json::Error>) -> anyhow::Result<u64> {
    let until = Instant::now() + time;
    let mut documents = 0;
    while Instant::now() < until {
        black_box(write()?);
        documents += 1;
    }
    Ok(documents)
}

/// The document by the writer of the feature server, as its REST API uses it.
fn by_hand(document: &Document) -> Result<Vec<u8>, serde_json::Error> {
    let of_value = if document.metadata { VALUE_BYTES + METADATA_BYTES } else { VALUE_BYTES };
    let values = document.results.first().map_or(0, |entity| entity.values.len());
    let mut json = JsonWriter::with_capacity((values + 2) * document.results.len() * of_value);
    json.object(|json| {
        json.name("entity").plain(document.entity);
        json.name("results").list(|json| document.results.iter().try_for_each(|entity| write_entity(json, entity)))?;
        json.name("as_of").instant(document.as_of);
        Ok(())
    })?;
    Ok(json.finish())
}

fn write_entity(json: &mut JsonWriter, entity: &EntityDocument) -> JsonResult {
    json.object(|json| {
        json.name("key").value(&entity.key)?;
        json.name("status").plain(entity.status);
        json.name("values")
            .object(|json| entity.values.iter().try_for_each(|(name, value)| json.name(name).value(value)))?;
        if !entity.metadata.is_empty() {
            json.name("metadata").object(|json| {
                entity.metadata.iter().try_for_each(|(name, metadata)| write_metadata(json.name(name), metadata))
            })?;
        }
        Ok(())
    })
}

fn write_metadata(json: &mut JsonWriter, metadata: &MetadataDocument) -> JsonResult {
    json.object(|json| {
        json.name("status").plain(metadata.status);
        json.name("event_time").maybe_instant(Some(metadata.event_time))?;
        json.name("source").plain(metadata.source);
        json.name("view").plain(metadata.view);
        json.name("version").value(&metadata.version)
    })
}

fn as_object<S: Serializer, V: Serialize>(pairs: &[(String, V)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(pairs.len()))?;
    pairs.iter().try_for_each(|(name, value)| object.serialize_entry(name, value))?;
    object.end()
}

fn instant<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let text = DateTime::<Utc>::from_timestamp_millis(*ms)
        .map_or_else(|| ms.to_string(), |instant| instant.to_rfc3339_opts(SecondsFormat::Millis, true));
    serializer.serialize_str(&text)
}

/// Values of the types that a household's features have, in three views.
fn document(metadata: bool) -> Document {
    let results = (1..=KEYS).map(|key| EntityDocument {
        key,
        status: "PRESENT",
        values: values(key),
        metadata: if metadata { metadata_of(key) } else { Vec::new() },
    });
    Document { entity: "household", results: results.collect(), as_of: 1_764_280_000_123, metadata }
}

fn values(key: i64) -> Vec<(String, Value)> {
    let money = |cents: i64| json!(format!("{}.{:02}", cents / 100, cents % 100));
    let values = [
        ("household_spend:spend_1h", money(key * 7)),
        ("household_spend:spend_7d", money(key * 1_013)),
        ("household_spend:spend_30d", money(key * 4_001)),
        ("household_spend:session_lines", json!(key % 12)),
        ("household_spend:recent_products", json!([800_000 + key, 800_001, 812_345, 829_999, 800_007])),
        ("household_taste:last_department", json!("GROCERY")),
        ("household_taste:products_30d", json!(key * 3)),
        ("household_coupons:redemptions_30d", if key % 5 == 0 { Value::Null } else { json!(key % 5) }),
    ];
    values.map(|(name, value)| (name.to_owned(), value)).into()
}

fn metadata_of(key: i64) -> Vec<(String, MetadataDocument)> {
    let of = |(name, value): (String, Value)| {
        let view = match name.split_once(':') {
            Some(("household_spend", _)) => "household_spend",
            Some(("household_taste", _)) => "household_taste",
            Some((_, _)) | None => "household_coupons",
        };
        let event_time = 1_764_270_000_000 + key * 1_000 + i64::try_from(view.len()).unwrap_or_default();
        let status = if value.is_null() { "NULL_VALUE" } else { "PRESENT" };
        (name, MetadataDocument { status, event_time, source: "redis", view, version: 1 })
    };
    values(key).into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_write_the_same_bytes() {
        for metadata in [false, true] {
            let document = document(metadata);
            let (ours, bare) = (by_hand(&document).unwrap(), serde_json::to_vec(&document).unwrap());
            assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(bare).unwrap());
        }
    }
}
