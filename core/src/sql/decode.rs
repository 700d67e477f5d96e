//! From the rows of `features` to the values that readers get: the texts become the states that slots hold, and are
//! finished by the same code.

use serde_json::Value as Json;

use crate::aggregate::{Distinct, FinishError, MAX_DISTINCT, Stamped, State};
use crate::assemble::{FeatureValue, Status, assemble};
use crate::decimal::{DecimalType, MAX_PRECISION};
use crate::definitions::{Aggregation, Entity, Feature, ValueType, View};
use crate::key::{InvalidKey, KeyText, KeyType};
use crate::partition::Partition;
use crate::position::Position;
use crate::scalar::Scalar;

/// One row of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRow {
    /// The greatest feature time of the key's entries, epoch ms.
    pub newest: i64,
    /// The wanted features, in the order asked.
    pub features: Vec<Option<String>>,
}

/// The key that its parts make, decoded as they are.
pub fn decode_key(entity: &Entity, parts: Vec<String>) -> Result<KeyText, InvalidKey> {
    let values: Vec<Json> = parts.into_iter().map(Json::String).collect();
    let typed: Vec<(KeyType, &Json)> = entity.key.iter().map(|(_, kind)| *kind).zip(&values).collect();
    KeyText::from_parts(&typed)
}

/// The values at `t` of the wanted features, as `assemble` answers them. No row: nothing is known of the key.
pub fn decode(view: &View, wanted: &[usize], row: Option<&FeatureRow>, t: i64) -> Vec<FeatureValue> {
    let Some(row) = row else { return assemble(view, &[], wanted, t) };
    let newest = Some(row.newest);
    let all = |status, reason: Option<&str>| {
        let one = |i: &usize| FeatureValue::missing(&view.features[*i], status, newest, reason.map(str::to_owned));
        wanted.iter().map(one).collect()
    };
    if t < row.newest {
        return all(Status::Error, Some("as_of is before the newest event that this view has absorbed"));
    }
    if view.ttl.is_some_and(|ttl| t - row.newest > ttl) {
        return all(Status::OutsideMaxAge, None);
    }
    let texts = row.features.iter().map(Option::as_deref).chain(std::iter::repeat(None));
    wanted.iter().zip(texts).map(|(index, text)| value(view, &view.features[*index], text, newest)).collect()
}

fn value(view: &View, feature: &Feature, text: Option<&str>, newest: Option<i64>) -> FeatureValue {
    let input = feature.input.map(|input| &view.inputs[input].1);
    let failed = |reason: String| FeatureValue::missing(feature, Status::Error, newest, Some(reason));
    if feature.aggregation == Aggregation::DistinctCount {
        return match text.and_then(|text| text.parse::<usize>().ok()) {
            Some(count) if count <= MAX_DISTINCT => FeatureValue::found(feature, Some(Json::from(count)), newest),
            Some(_) => failed(FinishError::TooManyDistinct.to_string()),
            None => failed(unreadable(text)),
        };
    }
    let Some(state) = state(feature, input, text) else { return failed(unreadable(text)) };
    match state.finish(&feature.value_type, input) {
        Ok(value) => FeatureValue::found(feature, value, newest),
        Err(error) => failed(error.to_string()),
    }
}

fn unreadable(text: Option<&str>) -> String {
    let beginning: String = text.unwrap_or("NULL").chars().take(60).collect();
    format!("unexpected value from the events: {beginning}")
}

/// The state that the text describes.
fn state(feature: &Feature, input: Option<&ValueType>, text: Option<&str>) -> Option<State> {
    let float = input == Some(&ValueType::Float64);
    let kind = input.unwrap_or(&ValueType::Int64);
    let Some(text) = text else { return Some(State::identity(feature.aggregation, input)) };
    Some(match feature.aggregation {
        Aggregation::Count => State::Count(text.parse().ok()?),
        Aggregation::Sum if float => State::FloatSum(text.parse().ok()?),
        Aggregation::Sum => State::Sum(units(kind, text)?),
        Aggregation::Mean => {
            let (sum, count) = text.split_once('|')?;
            let count = count.parse().ok()?;
            if float { State::FloatMean(sum.parse().ok()?, count) } else { State::Mean(units(kind, sum)?, count) }
        }
        Aggregation::Min | Aggregation::Max => State::Extreme(Some(scalar(kind, text)?)),
        Aggregation::First | Aggregation::Last => State::Edge(Some(Box::new(held(scalar(kind, text)?)))),
        Aggregation::LastN(_) => {
            let texts: Vec<String> = serde_json::from_str(text).ok()?;
            State::Latest(texts.iter().map(|text| scalar(kind, text).map(held)).collect::<Option<_>>()?)
        }
        Aggregation::DistinctCount => State::Distinct(Distinct::TooMany),
    })
}

/// A value without its stamp: it has served its purpose in the order of the rows.
fn held(value: Scalar<'static>) -> Stamped {
    Stamped { feature_time: 0, event_id: "".into(), position: Position::ZERO, partition: Partition(0), value }
}

fn units(kind: &ValueType, text: &str) -> Option<i128> {
    match kind {
        // A sum may have more digits than its addends.
        ValueType::Decimal(shape) => DecimalType { precision: MAX_PRECISION, scale: shape.scale }.parse(text).ok(),
        _ => text.parse().ok(),
    }
}

fn scalar(kind: &ValueType, text: &str) -> Option<Scalar<'static>> {
    Some(match kind {
        ValueType::Int64 | ValueType::Timestamp => Scalar::Int(text.parse().ok()?),
        ValueType::Float64 => Scalar::Float(text.parse().ok()?),
        ValueType::Decimal(_) => Scalar::Decimal(units(kind, text)?),
        ValueType::Bool => Scalar::Bool(text.parse().ok()?),
        ValueType::String | ValueType::Any => Scalar::Text(text.to_owned().into()),
        // ClickHouse writes the parts in its own way: 1 for 1.0.
        ValueType::List(_) | ValueType::Map(_) | ValueType::Vector(_) => Scalar::read(text, kind).ok()??.into_owned(),
    })
}
