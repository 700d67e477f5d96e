//! From slots to the values that a model reads, at an instant `t`. Tells the truth about each value; where a value
//! is missing, says why.

use serde_json::Value as Json;

use crate::aggregate::State;
use crate::definitions::{Feature, View};
use crate::slot::Slot;

/// What is true of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Known, and within its view's `ttl`.
    Present,
    /// The entity is known; there is nothing to show in this window.
    NullValue,
    /// The view knows nothing of the entity.
    NotFound,
    /// The view's newest event is older than its `ttl`.
    OutsideMaxAge,
    /// The value could not be had; `reason` says why.
    Error,
}

/// One feature's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureValue {
    /// The value, or the declared default where there is none.
    pub value: Json,
    /// What is true of it.
    pub status: Status,
    /// Feature time of the newest event that its view has absorbed, epoch ms.
    pub event_time: Option<i64>,
    /// Why there is no value, where that is an error.
    pub reason: Option<String>,
}

impl Status {
    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::Error => "ERROR",
        }
    }
}

impl FeatureValue {
    /// An answer without a value of its own: the declared default, or null.
    pub fn missing(feature: &Feature, status: Status, event_time: Option<i64>, reason: Option<String>) -> Self {
        Self { value: feature.default.clone().unwrap_or(Json::Null), status, event_time, reason }
    }

    /// A finished value, or what its absence means.
    pub fn found(feature: &Feature, value: Option<Json>, event_time: Option<i64>) -> Self {
        match value {
            Some(value) => Self { value, status: Status::Present, event_time, reason: None },
            None => Self::missing(feature, Status::NullValue, event_time, None),
        }
    }
}

/// The greatest feature time among a view's slots: the earliest `t` at which its values are defined.
pub fn newest(slots: &[Slot]) -> Option<i64> {
    slots.iter().filter_map(|slot| slot.newest).max()
}

/// The values at `t` of the wanted features (indices into the view's), from all slots of one key.
pub fn assemble(view: &View, slots: &[Slot], wanted: &[usize], t: i64) -> Vec<FeatureValue> {
    let newest = newest(slots);
    let missing = |status, reason: Option<&str>| {
        let one =
            |index: &usize| FeatureValue::missing(&view.features[*index], status, newest, reason.map(str::to_owned));
        wanted.iter().map(one).collect()
    };
    match newest {
        None => missing(Status::NotFound, None),
        Some(newest) if t < newest => {
            missing(Status::Error, Some("as_of is before the newest event that this view has absorbed"))
        }
        Some(newest) if view.ttl.is_some_and(|ttl| t - newest > ttl) => missing(Status::OutsideMaxAge, None),
        Some(_) => wanted.iter().map(|index| value_at(view, slots, *index, t, newest)).collect(),
    }
}

fn value_at(view: &View, slots: &[Slot], index: usize, t: i64, newest: Option<i64>) -> FeatureValue {
    let feature = &view.features[index];
    let input = feature.input.map(|input| &view.inputs[input].1);
    let spec = &view.windows[feature.window];
    let Some(place) = spec.features.iter().position(|other| *other == index) else {
        return FeatureValue::missing(feature, Status::Error, newest, Some("no such feature in its window".into()));
    };
    let mut state = State::identity(feature.aggregation, input);
    for slot in slots {
        if let Some(window) = slot.windows.get(feature.window) {
            window.tiles_at(spec.window, t, |tile| state.merge(feature.aggregation, &tile[place]));
        }
    }
    match state.finish(&feature.value_type, input) {
        Ok(value) => FeatureValue::found(feature, value, newest),
        Err(error) => FeatureValue::missing(feature, Status::Error, newest, Some(error.to_string())),
    }
}
