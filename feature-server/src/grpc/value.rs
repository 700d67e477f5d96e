//! Values as messages: typed by their feature's declared type, or as JSON has them.

use chrono::DateTime;
use millrace_core::assemble::Status;
use millrace_core::definitions::ValueType;
use prost_types::{ListValue as JsonList, Struct, Timestamp, Value as JsonValue, value::Kind as JsonKind};
use serde_json::{Map, Value as Json};

use super::message::MessageWriter;
use crate::error::RequestError;
use crate::proto::millrace_v1 as pb;

/// Fields of the message `Value`, one of which is written; none: null.
mod field {
    pub(super) const INT64: u32 = 1;
    pub(super) const FLOAT64: u32 = 2;
    pub(super) const STRING: u32 = 3;
    pub(super) const BOOL: u32 = 4;
    pub(super) const DECIMAL: u32 = 5;
    pub(super) const TIMESTAMP: u32 = 6;
    pub(super) const LIST: u32 = 7;
    pub(super) const MAP: u32 = 8;
    pub(super) const VECTOR: u32 = 9;
}
/// The only field of a list's, a map's and a vector's message.
const VALUES: u32 = 1;
/// Fields of an entry of a map.
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;

/// Writes a `Value` of the declared type. What is not of it (a declared default may be anything) keeps its own.
pub(super) fn typed(message: &mut MessageWriter, kind: &ValueType, value: &Json) {
    match (kind, value) {
        (ValueType::Int64, value) if let Some(int) = int(value) => message.int(field::INT64, int),
        (ValueType::Timestamp, value) if let Some(ms) = int(value) => instant(message, field::TIMESTAMP, ms),
        (ValueType::Float64, value) if let Some(float) = value.as_f64() => message.double(field::FLOAT64, float),
        (ValueType::Decimal(_), Json::String(text)) => message.text(field::DECIMAL, text),
        (ValueType::Decimal(_), Json::Number(number)) => message.text(field::DECIMAL, &number.to_string()),
        (ValueType::List(item), Json::Array(items)) => list(message, items, |message, json| typed(message, item, json)),
        (ValueType::Map(item), Json::Object(map)) => entries(message, map, |message, json| typed(message, item, json)),
        // Its items are 32-bit floats that were written as JSON.
        (ValueType::Vector(_), Json::Array(items)) => message.nested(field::VECTOR, |vector| {
            let floats = items.iter().map(|value| value.as_f64().map_or(f32::NAN, |float| float as f32));
            vector.nested(VALUES, |packed| floats.for_each(|float| packed.float_item(float)));
        }),
        (_, value) => own(message, value),
    }
}

/// The type that JSON says.
fn own(message: &mut MessageWriter, value: &Json) {
    match value {
        Json::Null => {}
        Json::Bool(bool) => message.int(field::BOOL, *bool),
        Json::Number(number) => match number.as_i64() {
            Some(int) => message.int(field::INT64, int),
            None => message.double(field::FLOAT64, number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => message.text(field::STRING, text),
        Json::Array(items) => list(message, items, own),
        Json::Object(map) => entries(message, map, own),
    }
}

fn list(message: &mut MessageWriter, items: &[Json], item: impl Fn(&mut MessageWriter, &Json)) {
    message.nested(field::LIST, |list| {
        items.iter().for_each(|json| list.nested(VALUES, |message| item(message, json)));
    });
}

fn entries(message: &mut MessageWriter, map: &Map<String, Json>, item: impl Fn(&mut MessageWriter, &Json)) {
    message.nested(field::MAP, |entries| {
        for (name, json) in map {
            entries.nested(VALUES, |entry| {
                entry.text(ENTRY_KEY, name);
                entry.nested(ENTRY_VALUE, |message| item(message, json));
            });
        }
    });
}

/// Writes an instant in epoch ms.
pub(super) fn instant(message: &mut MessageWriter, field: u32, ms: i64) {
    let Timestamp { seconds, nanos } = timestamp(ms);
    message.nested(field, |instant| {
        instant.int(1, seconds);
        instant.int(2, nanos);
    });
}

/// Integers that a double would bend are texts in JSON.
fn int(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A value as `google.protobuf.Value`.
pub(super) fn json(value: Json) -> JsonValue {
    let kind = match value {
        Json::Null => JsonKind::NullValue(prost_types::NullValue::NullValue.into()),
        Json::Bool(bool) => JsonKind::BoolValue(bool),
        Json::Number(number) => JsonKind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => JsonKind::StringValue(text),
        Json::Array(items) => JsonKind::ListValue(JsonList { values: items.into_iter().map(json).collect() }),
        Json::Object(entries) => JsonKind::StructValue(Struct {
            fields: entries.into_iter().map(|(name, value)| (name, json(value))).collect(),
        }),
    };
    JsonValue { kind: Some(kind) }
}

/// A status's number.
pub(super) fn status(status: Status) -> i32 {
    i32::from(match status {
        Status::Present => pb::Status::Present,
        Status::NullValue => pb::Status::NullValue,
        Status::NotFound => pb::Status::NotFound,
        Status::OutsideMaxAge => pb::Status::OutsideMaxAge,
        Status::Error => pb::Status::Error,
    })
}

/// An instant in epoch ms.
fn timestamp(ms: i64) -> Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    Timestamp { seconds: ms.div_euclid(1_000), nanos }
}

/// The instant that a request names, in epoch ms.
pub(super) fn as_of(timestamp: Option<Timestamp>) -> Result<Option<i64>, RequestError> {
    let Some(Timestamp { seconds, nanos }) = timestamp else { return Ok(None) };
    let instant = u32::try_from(nanos).ok().and_then(|nanos| DateTime::from_timestamp(seconds, nanos));
    let instant = instant.ok_or_else(|| RequestError::invalid("as_of", "not an instant"))?;
    Ok(Some(instant.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::millrace_v1::value::Kind;
    use serde_json::json;

    fn of(kind: &str, value: Json) -> Option<Kind> {
        let read: pb::Value = MessageWriter::read_back(|message| typed(message, &kind.parse().unwrap(), &value));
        read.kind
    }

    #[test]
    fn values_have_their_declared_types() {
        assert_eq!(of("int64", json!(7)), Some(Kind::Int64Value(7)));
        assert_eq!(of("int64", json!("9007199254740993")), Some(Kind::Int64Value(9_007_199_254_740_993)));
        assert_eq!(of("float64", json!(7)), Some(Kind::Float64Value(7.0)));
        assert_eq!(of("decimal(18,2)", json!("1.50")), Some(Kind::DecimalValue("1.50".into())));
        assert_eq!(of("string", json!("7")), Some(Kind::StringValue("7".into())));
        assert_eq!(of("bool", json!(true)), Some(Kind::BoolValue(true)));
        let instant = Timestamp { seconds: -1, nanos: 999_000_000 };
        assert_eq!(of("timestamp", json!(-1)), Some(Kind::TimestampValue(instant)));
        let vector = pb::VectorValue { values: vec![0.5, 1.0] };
        assert_eq!(of("vector(2)", json!([0.5, 1])), Some(Kind::VectorValue(vector)));
        assert_eq!(of("int64", Json::Null), None);
    }

    #[test]
    fn lists_and_maps_are_typed_to_the_bottom() {
        let decimal = |text: &str| pb::Value { kind: Some(Kind::DecimalValue(text.into())) };
        let list = pb::ListValue { values: vec![decimal("1.5"), pb::Value { kind: None }] };
        assert_eq!(of("list<decimal(3,1)>", json!(["1.5", null])), Some(Kind::ListValue(list)));
        let map = pb::MapValue { values: [("a".to_owned(), decimal("2.0"))].into() };
        assert_eq!(of("map<string,decimal(3,1)>", json!({ "a": "2.0" })), Some(Kind::MapValue(map)));
    }

    #[test]
    fn a_default_of_another_type_keeps_its_own() {
        assert_eq!(of("int64", json!("none")), Some(Kind::StringValue("none".into())));
        assert_eq!(of("list<int64>", json!(false)), Some(Kind::BoolValue(false)));
        assert_eq!(of("string", json!(-1.5)), Some(Kind::Float64Value(-1.5)));
    }

    #[test]
    fn json_values_are_the_same_in_protobuf() {
        let value = json(json!({ "a": [1, "2", null, true] }));
        let Some(JsonKind::StructValue(fields)) = value.kind else { panic!("no object") };
        let Some(JsonKind::ListValue(list)) = &fields.fields["a"].kind else { panic!("no list") };
        let kinds: Vec<_> = list.values.iter().map(|value| value.kind.clone().unwrap()).collect();
        let text = JsonKind::StringValue("2".into());
        assert_eq!(kinds, [JsonKind::NumberValue(1.0), text, JsonKind::NullValue(0), JsonKind::BoolValue(true)]);
    }

    #[test]
    fn instants_are_to_the_millisecond() {
        for ms in [-1, 0, 1_700_000_000_123] {
            assert_eq!(as_of(Some(timestamp(ms))).unwrap(), Some(ms));
        }
        assert_eq!(as_of(None).unwrap(), None);
        for (seconds, nanos) in [(0, -1), (0, 2_000_000_000), (i64::MAX, 0)] {
            assert!(as_of(Some(Timestamp { seconds, nanos })).is_err());
        }
    }
}
