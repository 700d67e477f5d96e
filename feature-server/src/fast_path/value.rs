//! Writes one value as the message `Value`: of its feature's declared type where it fits.

use millrace_core::assemble::Status;
use millrace_core::definitions::ValueType;
use prost_types::Timestamp;
use serde_json::{Map, Value as Json};

use super::fields::{list_value, map_value, timestamp as timestamp_fields, value as field, values_entry, vector_value};
use super::protobuf::MessageWriter;
use crate::proto::millrace_v1 as pb;

/// Writes a value of the declared type. A value of another type keeps its own: a declared default may be anything.
pub(super) fn typed(message: &mut MessageWriter, kind: &ValueType, value: &Json) {
    match (kind, value) {
        (ValueType::Int64, value) if let Some(int) = int(value) => message.int(field::INT64_VALUE, int),
        (ValueType::Timestamp, value) if let Some(ms) = int(value) => instant(message, field::TIMESTAMP_VALUE, ms),
        (ValueType::Float64, value) if let Some(float) = value.as_f64() => message.double(field::FLOAT64_VALUE, float),
        (ValueType::Decimal(_), Json::String(text)) => message.text(field::DECIMAL_VALUE, text),
        (ValueType::Decimal(_), Json::Number(number)) => message.text(field::DECIMAL_VALUE, &number.to_string()),
        (ValueType::List(item), Json::Array(items)) => list(message, items, |message, json| typed(message, item, json)),
        (ValueType::Map(item), Json::Object(map)) => entries(message, map, |message, json| typed(message, item, json)),
        // The items are 32-bit floats that were written as JSON.
        (ValueType::Vector(_), Json::Array(items)) => message.nested(field::VECTOR_VALUE, |vector| {
            let floats = items.iter().map(|value| value.as_f64().map_or(f32::NAN, |float| float as f32));
            vector.nested(vector_value::VALUES, |packed| floats.for_each(|float| packed.float_item(float)));
        }),
        (_, value) => own(message, value),
    }
}

/// Writes a value of the type that it has in JSON.
fn own(message: &mut MessageWriter, value: &Json) {
    match value {
        Json::Null => {}
        Json::Bool(bool) => message.int(field::BOOL_VALUE, *bool),
        Json::Number(number) => match number.as_i64() {
            Some(int) => message.int(field::INT64_VALUE, int),
            None => message.double(field::FLOAT64_VALUE, number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => message.text(field::STRING_VALUE, text),
        Json::Array(items) => list(message, items, own),
        Json::Object(map) => entries(message, map, own),
    }
}

fn list(message: &mut MessageWriter, items: &[Json], item: impl Fn(&mut MessageWriter, &Json)) {
    message.nested(field::LIST_VALUE, |list| {
        items.iter().for_each(|json| list.nested(list_value::VALUES, |message| item(message, json)));
    });
}

fn entries(message: &mut MessageWriter, map: &Map<String, Json>, item: impl Fn(&mut MessageWriter, &Json)) {
    message.nested(field::MAP_VALUE, |entries| {
        for (name, json) in map {
            entries.nested(map_value::VALUES, |entry| {
                entry.text(values_entry::KEY, name);
                entry.nested(values_entry::VALUE, |message| item(message, json));
            });
        }
    });
}

/// Writes an instant in epoch ms.
pub(super) fn instant(message: &mut MessageWriter, field: u32, ms: i64) {
    let Timestamp { seconds, nanos } = timestamp(ms);
    message.nested(field, |instant| {
        instant.int(timestamp_fields::SECONDS, seconds);
        instant.int(timestamp_fields::NANOS, nanos);
    });
}

/// An integer. In JSON it is a text where a double could not hold it exactly.
fn int(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The number of a status.
pub(super) fn status(status: Status) -> i32 {
    i32::from(match status {
        Status::Present => pb::Status::Present,
        Status::NullValue => pb::Status::NullValue,
        Status::NotFound => pb::Status::NotFound,
        Status::OutsideMaxAge => pb::Status::OutsideMaxAge,
        Status::Error => pb::Status::Error,
    })
}

/// An instant in epoch ms as a message.
fn timestamp(ms: i64) -> Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    Timestamp { seconds: ms.div_euclid(1_000), nanos }
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
    fn instants_are_seconds_and_nanoseconds() {
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_000_000 });
        assert_eq!(timestamp(0), Timestamp { seconds: 0, nanos: 0 });
        assert_eq!(timestamp(1_700_000_000_123), Timestamp { seconds: 1_700_000_000, nanos: 123_000_000 });
    }
}
