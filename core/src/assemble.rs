//! From slots to the values that a model reads, at an instant `t`. Tells the truth about each value; where a value
//! is missing, says why.

use serde_json::Value as Json;

use crate::aggregate::State;
use crate::batch::Run;
use crate::codec::{DecodeError, EncodedSlot, Wanted};
use crate::definitions::{Feature, View};
use crate::slot::{Checkpoint, Slot};

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
    /// The run that wrote it, of a batch view.
    pub run: Option<u32>,
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
        Self { value: feature.default.clone().unwrap_or(Json::Null), status, event_time, run: None, reason }
    }

    /// A finished value, or what its absence means.
    pub fn found(feature: &Feature, value: Option<Json>, event_time: Option<i64>) -> Self {
        match value {
            Some(value) => Self { value, status: Status::Present, event_time, run: None, reason: None },
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
    let since = since(view, newest(slots), slots.iter().map(|slot| slot.checkpoint));
    let newest = match judge(view, newest(slots), since, wanted, t) {
        Judged::Defined(newest) => newest,
        Judged::Missing(values) => return values,
    };
    wanted.iter().map(|index| value_at(view, slots, *index, t, newest)).collect()
}

/// The same from slots as they are stored, without decoding what nobody asked for. `at` says at which instant a view
/// is read, given the first at which its values are defined.
pub fn assemble_encoded(
    view: &View,
    slots: &[EncodedSlot<'_>],
    wanted: &Wanted,
    at: impl FnOnce(Option<i64>) -> i64,
) -> Result<Vec<FeatureValue>, DecodeError> {
    let newest = slots.iter().filter_map(|slot| slot.newest).max();
    let since = since(view, newest, slots.iter().map(|slot| slot.checkpoint));
    let t = at(since);
    let newest = match judge(view, newest, since, wanted.features(), t) {
        Judged::Defined(newest) => newest,
        Judged::Missing(values) => return Ok(values),
    };
    let mut states = wanted.identities(view);
    for slot in slots {
        slot.clone().fold(view, wanted, t, &mut states)?;
    }
    Ok(wanted.features().iter().zip(&states).map(|(index, state)| finish(view, *index, state, newest)).collect())
}

/// Whether a view has values at some instant.
enum Judged {
    /// It has; its newest event is then.
    Defined(i64),
    /// It has none, and why.
    Missing(Vec<FeatureValue>),
}

/// From when on a view's values are defined, and how old they are: since its newest event; those of a batch view since
/// the instant that its run was of, whatever event time a row says.
fn since(view: &View, newest: Option<i64>, checkpoints: impl Iterator<Item = Checkpoint>) -> Option<i64> {
    if view.batch.is_none() {
        return newest;
    }
    checkpoints.map(|checkpoint| Run::of(checkpoint).as_of).max().max(newest)
}

fn judge(view: &View, newest: Option<i64>, since: Option<i64>, wanted: &[usize], t: i64) -> Judged {
    let missing = |status, reason: Option<&str>| {
        let one =
            |index: &usize| FeatureValue::missing(&view.features[*index], status, newest, reason.map(str::to_owned));
        Judged::Missing(wanted.iter().map(one).collect())
    };
    match (newest, since) {
        (Some(_), Some(since)) if t < since => {
            missing(Status::Error, Some("as_of is before the newest event that this view has absorbed"))
        }
        (Some(_), Some(since)) if view.ttl.is_some_and(|ttl| t - since > ttl) => missing(Status::OutsideMaxAge, None),
        (Some(newest), _) => Judged::Defined(newest),
        (None, _) => missing(Status::NotFound, None),
    }
}

fn value_at(view: &View, slots: &[Slot], index: usize, t: i64, newest: i64) -> FeatureValue {
    let feature = &view.features[index];
    let spec = &view.windows[feature.window];
    let Some(place) = spec.features.iter().position(|other| *other == index) else {
        let reason = Some("no such feature in its window".into());
        return FeatureValue::missing(feature, Status::Error, Some(newest), reason);
    };
    let mut state = State::identity(feature.aggregation, feature.input.map(|input| &view.inputs[input].1));
    for slot in slots {
        if let Some(window) = slot.windows.get(feature.window) {
            window.tiles_at(spec.window, t, |tile| state.merge(feature.aggregation, &tile[place]));
        }
    }
    finish(view, index, &state, newest)
}

fn finish(view: &View, index: usize, state: &State, newest: i64) -> FeatureValue {
    let feature = &view.features[index];
    match state.finish(&feature.value_type, feature.input.map(|input| &view.inputs[input].1)) {
        Ok(value) => FeatureValue::found(feature, value, Some(newest)),
        Err(error) => FeatureValue::missing(feature, Status::Error, Some(newest), Some(error.to_string())),
    }
}
