//! The shape of a profile: readable values in BSON's own types, and the state from which they came. Every part is a
//! function of the log; none comes from a clock.
//!
//! `{_id, features: {name: {value, timestamp, version, error?}}, metadata: {updated_at, source, job_id?},
//!   checkpoint: {order, generation, ms, seq, partition}, state}`

use millrace_core::assemble::{Status, assemble};
use millrace_core::batch::Run;
use millrace_core::codec;
use millrace_core::decimal::{DecimalType, MAX_PRECISION};
use millrace_core::definitions::{Feature, ValueType, View};
use millrace_core::finished::Finished;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::int_json;
use millrace_core::slot::{Checkpoint, Slot};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, RawBsonRef, RawDocument, doc};
use serde_json::Value as Json;

use super::error::ProfileError;

/// The field that holds the encoded slot.
pub(super) const STATE: &str = "state";
/// `metadata.source` of the documents of streamed views.
const STREAM: &str = "stream";
/// `metadata.source` of the documents of batch views.
const BATCH: &str = "batch";
/// The number of digits that a `Decimal128` holds.
const DECIMAL128_DIGITS: usize = 34;

/// The collection of a view.
pub(super) fn collection(view: &View) -> String {
    format!("{}_v{}", view.name, view.version)
}

/// The path of a feature's value.
pub(super) fn value(feature: &Feature) -> String {
    format!("features.{}.value", feature.name)
}

/// The whole document but `_id`, which the filter sets.
pub(super) fn document(view: &View, slot: &Slot, partition: Partition) -> Document {
    let all: Vec<usize> = (0..view.features.len()).collect();
    let newest = slot.newest.map_or(Bson::Null, |ms| DateTime::from_millis(ms).into());
    // The first instant at which its values are defined.
    let as_of = view.batch.as_ref().map(|_| Run::of(slot.checkpoint).as_of);
    let t = as_of.max(slot.newest).unwrap_or_default();
    let values = assemble(view, std::slice::from_ref(slot), &all, t);
    let mut features = Document::new();
    for (feature, value) in view.features.iter().zip(values) {
        let shown =
            if value.status == Status::Present { to_bson(value.value, &feature.value_type) } else { Bson::Null };
        let mut readable = doc! { "value": shown, "timestamp": newest.clone(), "version": i64::from(view.version) };
        if let (Status::Error, Some(reason)) = (value.status, value.reason) {
            readable.insert("error", reason);
        }
        features.insert(&feature.name, readable);
    }
    let state = Binary { subtype: BinarySubtype::Generic, bytes: codec::encode(slot) };
    doc! {
        "features": features,
        "metadata": metadata(view, slot, newest),
        "checkpoint": checkpoint_document(slot.checkpoint, partition),
        STATE: state,
    }
}

fn metadata(view: &View, slot: &Slot, newest: Bson) -> Document {
    if view.batch.is_some() {
        return doc! { "updated_at": newest, "source": BATCH, "job_id": Run::of(slot.checkpoint).job_id(view) };
    }
    doc! { "updated_at": newest, "source": STREAM }
}

/// Matches the document of `key` iff it is older than `checkpoint`. The filter is one range beside `_id`: an `$or` over
/// the parts of the checkpoint means the same, but makes SecantusDB scan the collection (measured: 250 puts/s instead of
/// 2,000).
pub(super) fn older(key: &str, checkpoint: Checkpoint) -> Document {
    doc! { "_id": key, "checkpoint.order": { "$lt": order(checkpoint) } }
}

/// A checkpoint as text that sorts as checkpoints do: MongoDB compares strings by their bytes.
fn order(checkpoint: Checkpoint) -> String {
    let Checkpoint { generation, position: Position { ms, seq } } = checkpoint;
    format!("{generation:08x}-{ms:016x}-{seq:016x}")
}

/// The checkpoint that [`older`] compares with, or why it cannot be read.
pub(super) fn ordered(raw: &RawDocument) -> Result<Checkpoint, String> {
    let text = raw.get_document("checkpoint").and_then(|stored| stored.get_str("order"));
    let text = text.map_err(|error| format!("checkpoint.order: {error}"))?;
    let read = || {
        let mut parts = text.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let generation = u32::try_from(parts.next()??).ok()?;
        Some(Checkpoint { generation, position: Position::new(parts.next()??, parts.next()??) })
    };
    read().filter(|read| order(*read) == text).ok_or_else(|| format!("checkpoint.order is `{text}`"))
}

/// The parts of a document that [`profile`] needs.
pub(super) fn projection(view: &View, features: &[usize]) -> Document {
    let mut wanted = doc! { "metadata.updated_at": 1 };
    if view.batch.is_some() {
        wanted.insert("checkpoint", 1);
    }
    for index in features {
        wanted.insert(format!("features.{}", view.features[*index].name), 1);
    }
    wanted
}

pub(super) fn key(raw: &RawDocument) -> Result<String, ProfileError> {
    raw.get_str("_id").map(str::to_owned).map_err(unexpected)
}

pub(super) fn state(raw: &RawDocument) -> Vec<u8> {
    raw.get_binary(STATE).map(|binary| binary.bytes.to_vec()).unwrap_or_default()
}

pub(super) fn checkpoint(raw: &RawDocument) -> Result<Checkpoint, ProfileError> {
    let stored = raw.get_document("checkpoint").map_err(unexpected)?;
    let number = |name: &str| {
        let value = stored.get_i64(name).map_err(unexpected)?;
        u64::try_from(value).map_err(|_| ProfileError::Unexpected(format!("checkpoint.{name} is {value}")))
    };
    let generation = u32::try_from(number("generation")?).map_err(unexpected)?;
    Ok(Checkpoint { generation, position: Position::new(number("ms")?, number("seq")?) })
}

/// Takes the wanted features out of a document.
pub(super) fn profile(view: &View, wanted: &[usize], raw: &RawDocument) -> Result<Finished, ProfileError> {
    let updated_at = raw.get_document("metadata").and_then(|metadata| metadata.get_datetime("updated_at"));
    let features = raw.get_document("features").map_err(unexpected)?;
    let value = |index: &usize| {
        let feature = &view.features[*index];
        let entry = features.get_document(&feature.name).map_err(|_| "the document lacks this feature".to_owned())?;
        if let Ok(error) = entry.get_str("error") {
            return Err(error.to_owned());
        }
        match entry.get("value") {
            Ok(Some(RawBsonRef::Null)) => Ok(None),
            Ok(Some(stored)) => from_bson(stored, &feature.value_type).map(Some),
            _ => Err("the document lacks this value".to_owned()),
        }
    };
    let newest = updated_at.ok().map(DateTime::timestamp_millis);
    let run = view.batch.as_ref().map(|_| checkpoint(raw).map(Run::of)).transpose()?;
    Ok(Finished { newest, run, values: wanted.iter().map(value).collect() })
}

fn checkpoint_document(checkpoint: Checkpoint, partition: Partition) -> Document {
    let (generation, ms, seq) = numbers(checkpoint);
    let partition = i32::from(partition.0);
    doc! { "order": order(checkpoint), "generation": generation, "ms": ms, "seq": seq, "partition": partition }
}

/// BSON has no unsigned numbers. The clock of a stream is far below 2^63; the sequence saturates, which keeps its order.
fn numbers(checkpoint: Checkpoint) -> (i64, i64, i64) {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    (i64::from(checkpoint.generation), number(checkpoint.position.ms), number(checkpoint.position.seq))
}

/// A finished value in BSON's own type. A decimal past 34 digits and an integer past 64 bits stay text, so that every value
/// is exact.
pub(super) fn to_bson(value: Json, kind: &ValueType) -> Bson {
    match (kind, value) {
        (_, Json::Null) => Bson::Null,
        (ValueType::Int64, value) => integer(&value).map_or_else(|| text(value), Bson::Int64),
        (ValueType::Timestamp, value) => {
            integer(&value).map_or_else(|| text(value), |ms| Bson::DateTime(DateTime::from_millis(ms)))
        }
        (ValueType::Decimal(_), Json::String(digits)) => decimal(digits),
        (ValueType::List(item), Json::Array(items)) => {
            Bson::Array(items.into_iter().map(|value| to_bson(value, item)).collect())
        }
        (ValueType::Map(item), Json::Object(entries)) => {
            Bson::Document(entries.into_iter().map(|(name, value)| (name, to_bson(value, item))).collect())
        }
        (ValueType::Vector(_), Json::Array(items)) => {
            Bson::Array(items.into_iter().map(|value| to_bson(value, &ValueType::Float64)).collect())
        }
        (_, Json::Number(number)) => number.as_f64().map_or(Bson::Null, Bson::Double),
        (_, Json::Bool(value)) => Bson::Boolean(value),
        (_, value) => text(value),
    }
}

fn integer(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn text(value: Json) -> Bson {
    Bson::String(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn decimal(digits: String) -> Bson {
    let fits = digits.bytes().filter(u8::is_ascii_digit).count() <= DECIMAL128_DIGITS;
    match digits.parse::<Decimal128>() {
        Ok(decimal) if fits => Bson::Decimal128(decimal),
        _ => Bson::String(digits),
    }
}

/// The inverse of [`to_bson`].
fn from_bson(value: RawBsonRef<'_>, kind: &ValueType) -> Result<Json, String> {
    let wrong = || format!("the document does not hold a {kind}");
    Ok(match (kind, value) {
        (ValueType::Int64, RawBsonRef::Int64(value)) => int_json(i128::from(value)),
        (ValueType::Int64, RawBsonRef::Int32(value)) => Json::from(value),
        (ValueType::Timestamp, RawBsonRef::DateTime(value)) => int_json(i128::from(value.timestamp_millis())),
        (ValueType::Float64, RawBsonRef::Double(value)) => Json::from(value),
        (ValueType::Bool, RawBsonRef::Boolean(value)) => Json::Bool(value),
        (ValueType::Decimal(shape), RawBsonRef::Decimal128(value)) => {
            // A sum may have more digits than its type declares.
            let wide = DecimalType { precision: MAX_PRECISION, scale: shape.scale };
            let units = wide.parse(&value.to_string()).map_err(|error| error.to_string())?;
            Json::String(shape.format(units))
        }
        (ValueType::List(item), RawBsonRef::Array(items)) => {
            items.into_iter().map(|value| from_bson(value.map_err(|_| wrong())?, item)).collect::<Result<Json, _>>()?
        }
        (ValueType::Vector(_), RawBsonRef::Array(items)) => items
            .into_iter()
            .map(|value| from_bson(value.map_err(|_| wrong())?, &ValueType::Float64))
            .collect::<Result<Json, _>>()?,
        (ValueType::Map(item), RawBsonRef::Document(entries)) => {
            let mut map = serde_json::Map::new();
            for entry in entries {
                let (name, value) = entry.map_err(|_| wrong())?;
                map.insert(name.as_str().to_owned(), from_bson(value, item)?);
            }
            Json::Object(map)
        }
        (_, RawBsonRef::Null) => Json::Null,
        (
            ValueType::String | ValueType::Int64 | ValueType::Timestamp | ValueType::Decimal(_),
            RawBsonRef::String(text),
        ) => Json::String(text.to_owned()),
        _ => return Err(wrong()),
    })
}

fn unexpected(error: impl std::fmt::Display) -> ProfileError {
    ProfileError::Unexpected(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::aggregate::Stamp;
    use millrace_core::definitions::{Definitions, DefinitionsSource};
    use millrace_core::scalar::Scalar;
    use mongodb::bson::RawDocumentBuf;
    use serde_json::json;

    fn round_trip(value: Json, kind: &str) -> (Bson, Json) {
        let kind: ValueType = kind.parse().unwrap();
        let bson = to_bson(value, &kind);
        let raw = RawDocumentBuf::try_from(&doc! { "v": bson.clone() }).unwrap();
        let back = from_bson(raw.get("v").unwrap().unwrap(), &kind).unwrap();
        (bson, back)
    }

    #[test]
    fn every_type_comes_back_as_it_went() {
        let vast = "123456789012345678901234567890123456.78";
        for (value, kind) in [
            (json!(7), "int64"),
            (json!("9007199254740993"), "int64"),
            (json!("170141183460469231731687303715884105727"), "int64"),
            (json!("-12.50"), "decimal(18,2)"),
            (json!("0.00"), "decimal(18,2)"),
            (json!("0.000000000"), "decimal(18,9)"),
            (json!(vast), "decimal(38,2)"),
            (json!(0.1), "float64"),
            (json!("x"), "string"),
            (json!(true), "bool"),
            (json!(1_700_000_000_123i64), "timestamp"),
            (json!(["1.10", "2.20"]), "list<decimal(9,2)>"),
            (json!({"a": 1, "b": 2}), "map<string,int64>"),
            (json!([0.5, 1.0]), "vector(2)"),
        ] {
            assert_eq!(round_trip(value.clone(), kind).1, value, "{kind}");
        }
    }

    #[test]
    fn a_checkpoint_is_stored_as_text_that_is_read_back_and_nothing_else_is() {
        let stored = |generation, ms, seq| {
            let checkpoint = Checkpoint { generation, position: Position::new(ms, seq) };
            (checkpoint, checkpoint_document(checkpoint, Partition(3)))
        };
        let (checkpoint, document) = stored(1, 1_700_000_000_123, 255);
        let order = "00000001-0000018bcfe5687b-00000000000000ff";
        let wanted =
            doc! { "order": order, "generation": 1i64, "ms": 1_700_000_000_123i64, "seq": 255i64, "partition": 3 };
        assert_eq!(document, wanted);
        assert_eq!(older("k", checkpoint), doc! { "_id": "k", "checkpoint.order": { "$lt": order } });
        for (checkpoint, document) in [(checkpoint, document), stored(u32::MAX, u64::MAX, u64::MAX), stored(0, 0, 0)] {
            let raw = RawDocumentBuf::try_from(&doc! { "checkpoint": document }).unwrap();
            assert_eq!(ordered(&raw), Ok(checkpoint));
        }
        for wrong in ["1-2-3", "00000001-0000018BCFE5687B-00000000000000ff", ""] {
            let raw = RawDocumentBuf::try_from(&doc! { "checkpoint": { "order": wrong } }).unwrap();
            assert!(ordered(&raw).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_have_the_types_that_people_query_by() {
        assert!(matches!(round_trip(json!("12.50"), "decimal(18,2)").0, Bson::Decimal128(_)));
        assert!(matches!(round_trip(json!(1), "timestamp").0, Bson::DateTime(_)));
        assert!(matches!(round_trip(json!("9007199254740993"), "int64").0, Bson::Int64(_)));
        let vast = "123456789012345678901234567890123456.78";
        assert!(matches!(round_trip(json!(vast), "decimal(38,2)").0, Bson::String(_)));
    }

    /// Values that are as long as they may be, with parts as short as they can be: the largest BSON.
    #[test]
    fn no_document_outgrows_what_its_definition_says() {
        let kinds = [
            ("list<int64>", format!("[{}1]", "1,".repeat(9_999))),
            ("list<string>", format!("[{}\"\"]", "\"\",".repeat(9_999))),
            ("list<list<bool>>", format!("[{}[]]", "[],".repeat(9_999))),
            (
                "\"map<string,int64>\"",
                format!("{{{}\"x\":1}}", (0..6_000).map(|n| format!("\"{n}\":1,")).collect::<String>()),
            ),
            ("string", format!("\"{}\"", "x".repeat(16_384))),
            ("\"vector(100)\"", format!("[{}1]", "1,".repeat(99))),
            ("\"decimal(38,2)\"", "\"123456789012345678901234567890123456.78\"".to_owned()),
            ("int64", "-9223372036854775808".to_owned()),
        ];
        let features: String = kinds.iter().enumerate().map(|(at, (kind, _))| feature(at, kind)).collect();
        let yaml = format!(
            "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
             - name: v\n    entity: user\n    store: mongodb\n    from: [click]\n    features:\n{features}"
        );
        let source = DefinitionsSource { yaml, schemas: Default::default() };
        let definitions = Definitions::compile(source).unwrap();
        let view = &definitions.views[0];
        let mut slot = Slot::empty(view);
        for number in 1..4 {
            let id = format!("{number:0256}");
            let position = Position::new(u64::MAX, number);
            let stamp = Stamp { feature_time: i64::MAX / 2, event_id: &id, position, partition: Partition(u16::MAX) };
            let inputs = view.inputs.iter().zip(&kinds).map(|((_, kind), (_, text))| Scalar::read(text, kind).unwrap());
            slot.absorb(view, stamp, &inputs.collect::<Vec<_>>()).unwrap();
        }
        let bytes = document(view, &slot, Partition(u16::MAX)).to_vec().unwrap().len() as u64;
        let bound = codec::max_document_bytes(view);
        assert!(bytes <= bound && bytes * 5 > bound, "{bytes} of {bound}");
    }

    fn feature(at: usize, kind: &str) -> String {
        let value = format!("value: properties.p{at}, type: {kind}");
        format!(
            "      - {{ name: l{at}, agg: last, {value} }}\n      - {{ name: n{at}, agg: last_n, n: 3, {value} }}\n"
        )
    }
}
