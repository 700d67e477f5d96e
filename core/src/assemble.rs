//! Computes the values that a model reads at an instant `t` from the slots of one key. The caller fetches the slots: it
//! passes every slot of the key that the store holds.

use crate::aggregate::{AggregateState, At, WrongKind};
use crate::batch::Run;
use crate::codec::{DecodeError, EncodedSlot, Wanted};
use crate::definitions::View;
use crate::slot::{Checkpoint, Slot};
use crate::status;

pub use crate::status::{FeatureValue, Status};

/// The greatest feature time among a view's slots, epoch ms. The values of a streamed view are defined from it on; those of a
/// batch view from the `as_of` of its run on, if that is later. None if no slot has absorbed an entry.
pub fn newest(slots: &[Slot]) -> Option<i64> {
    slots.iter().filter_map(|slot| slot.newest).max()
}

/// The values at `t` (epoch ms) of the features at these indices in the view, in this order, from all slots of one key.
/// Where the view's values are not defined at `t`, each has the status that says why.
pub fn assemble(view: &View, slots: &[Slot], wanted: &[usize], t: i64) -> Vec<FeatureValue> {
    match status::defined_at(view, newest(slots), run_of(view, slots.iter().map(|slot| slot.checkpoint)), t) {
        Ok(newest) => wanted.iter().map(|index| value_at(view, slots, *index, t, newest)).collect(),
        Err(undefined) => undefined.values(view, wanted),
    }
}

/// As [`assemble`], but from encoded slots: the states of features that are not wanted are stepped over. `at` is called
/// once, with the earliest instant at which the values are defined (None if there is no slot), and returns `t`. So a caller
/// can read "now" without reading before the newest entry.
pub fn assemble_encoded(
    view: &View,
    slots: &[EncodedSlot<'_>],
    wanted: &Wanted,
    at: impl FnOnce(Option<i64>) -> i64,
) -> Result<Vec<FeatureValue>, DecodeError> {
    let newest = slots.iter().filter_map(|slot| slot.newest).max();
    let run_as_of = run_of(view, slots.iter().map(|slot| slot.checkpoint));
    let t = at(newest.max(run_as_of));
    let newest = match status::defined_at(view, newest, run_as_of, t) {
        Ok(newest) => newest,
        Err(undefined) => return Ok(undefined.values(view, wanted.features())),
    };
    let mut states = wanted.empty_states(view);
    for slot in slots {
        slot.clone().fold(view, wanted, t, &mut states)?;
    }
    Ok(wanted.features().iter().zip(&states).map(|(index, state)| finish(view, *index, state, t, newest)).collect())
}

/// The latest `as_of` among the runs that wrote these slots of a batch view. None for a streamed view.
fn run_of(view: &View, checkpoints: impl Iterator<Item = Checkpoint>) -> Option<i64> {
    view.batch.as_ref()?;
    checkpoints.map(|checkpoint| Run::of(checkpoint).as_of).max()
}

fn value_at(view: &View, slots: &[Slot], index: usize, t: i64, newest: i64) -> FeatureValue {
    match merged(view, slots, index, t) {
        Ok(state) => finish(view, index, &state, t, newest),
        Err(error) => {
            let reason = Some(error.to_string());
            FeatureValue::missing(&view.features[index], Status::Error, Some(newest), reason)
        }
    }
}

/// The state of a feature, merged from the tiles that count at `t`, of every slot.
fn merged(view: &View, slots: &[Slot], index: usize, t: i64) -> Result<AggregateState, WrongKind> {
    let feature = &view.features[index];
    let spec = &view.windows[feature.window];
    let place = spec.features.iter().position(|other| *other == index).ok_or(WrongKind)?;
    let mut state = feature.aggregate.empty();
    for slot in slots {
        let window = slot.windows.get(feature.window).ok_or(WrongKind)?;
        window
            .tiles_at(spec.window, t, |tile| feature.aggregate.merge(&mut state, tile.get(place).ok_or(WrongKind)?))?;
    }
    Ok(state)
}

fn finish(view: &View, index: usize, state: &AggregateState, t: i64, newest: i64) -> FeatureValue {
    let feature = &view.features[index];
    let window_start = view.windows[feature.window].window.start_at(t);
    match feature.aggregate.finish(state, At { t, window_start, newest }) {
        Ok(value) => FeatureValue::found(feature, value, Some(newest)),
        Err(error) => FeatureValue::missing(feature, Status::Error, Some(newest), Some(error.to_string())),
    }
}
