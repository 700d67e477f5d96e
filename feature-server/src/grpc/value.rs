//! Values as messages: typed by their feature's declared type, or as JSON has them.

use chrono::DateTime;
use millrace_core::assemble::Status;
use millrace_core::definitions::ValueType;
use prost_types::{ListValue as JsonList, Struct, Timestamp, Value as JsonValue, value::Kind as JsonKind};
use serde_json::Value as Json;

use crate::error::RequestError;
use crate::proto::millrace_v1::{self as pb, value::Kind};

/// A value of the declared type. What is not of it (a declared default may be anything) keeps its own.
pub(super) fn typed(kind: &ValueType, value: Json) -> pb::Value {
    let kind = match (kind, value) {
        (_, Json::Null) => None,
        (ValueType::Int64, value) => int(&value).map_or_else(|| own(value), |int| Some(Kind::Int64Value(int))),
        (ValueType::Timestamp, value) => {
            int(&value).map_or_else(|| own(value), |ms| Some(Kind::TimestampValue(timestamp(ms))))
        }
        (ValueType::Float64, value) => match value.as_f64() {
            Some(float) => Some(Kind::Float64Value(float)),
            None => own(value),
        },
        (ValueType::Decimal(_), Json::String(text)) => Some(Kind::DecimalValue(text)),
        (ValueType::Decimal(_), Json::Number(number)) => Some(Kind::DecimalValue(number.to_string())),
        (ValueType::List(item), Json::Array(items)) => {
            Some(Kind::ListValue(pb::ListValue { values: items.into_iter().map(|value| typed(item, value)).collect() }))
        }
        (ValueType::Map(item), Json::Object(entries)) => Some(Kind::MapValue(pb::MapValue {
            values: entries.into_iter().map(|(name, value)| (name, typed(item, value))).collect(),
        })),
        (ValueType::Vector(_), Json::Array(items)) => Some(Kind::VectorValue(pb::VectorValue {
            // A vector's items are 32-bit floats that were written as JSON.
            values: items.iter().map(|value| value.as_f64().map_or(f32::NAN, |float| float as f32)).collect(),
        })),
        (_, value) => own(value),
    };
    pb::Value { kind }
}

/// The type that JSON says.
fn own(value: Json) -> Option<Kind> {
    let nested = |value| pb::Value { kind: own(value) };
    Some(match value {
        Json::Null => return None,
        Json::Bool(bool) => Kind::BoolValue(bool),
        Json::Number(number) => match number.as_i64() {
            Some(int) => Kind::Int64Value(int),
            None => Kind::Float64Value(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(pb::ListValue { values: items.into_iter().map(nested).collect() }),
        Json::Object(entries) => Kind::MapValue(pb::MapValue {
            values: entries.into_iter().map(|(name, value)| (name, nested(value))).collect(),
        }),
    })
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

/// A status.
pub(super) fn status(status: Status) -> pb::Status {
    match status {
        Status::Present => pb::Status::Present,
        Status::NullValue => pb::Status::NullValue,
        Status::NotFound => pb::Status::NotFound,
        Status::OutsideMaxAge => pb::Status::OutsideMaxAge,
        Status::Error => pb::Status::Error,
    }
}

/// An instant in epoch ms.
pub(super) fn timestamp(ms: i64) -> Timestamp {
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
    use serde_json::json;

    fn of(kind: &str, value: Json) -> Option<Kind> {
        typed(&kind.parse().unwrap(), value).kind
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
