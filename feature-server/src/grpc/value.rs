//! Values and instants as the messages that prost encodes: values as JSON has them, and the instant of a request.

use chrono::DateTime;
use prost_types::{ListValue as JsonList, Struct, Timestamp, Value as JsonValue, value::Kind as JsonKind};
use serde_json::Value as Json;

use crate::error::RequestError;

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
        for (seconds, nanos, ms) in [(-1, 999_000_000, -1), (0, 0, 0), (1_700_000_000, 123_000_000, 1_700_000_000_123)]
        {
            assert_eq!(as_of(Some(Timestamp { seconds, nanos })).unwrap(), Some(ms));
        }
        assert_eq!(as_of(None).unwrap(), None);
        for (seconds, nanos) in [(0, -1), (0, 2_000_000_000), (i64::MAX, 0)] {
            assert!(as_of(Some(Timestamp { seconds, nanos })).is_err());
        }
    }
}
