//! Turns the answer of a store into the value and the status of each feature. The declared default stands in for a missing
//! value, and the status says why it is missing. The states in Redis are assembled by `core`; finished values of MongoDB and
//! ClickHouse are judged here by the same rules.

use std::fmt::Display;

use millrace_core::assemble::{FeatureValue, Status, assemble_encoded};
use millrace_core::batch::Run;
use millrace_core::codec::{self, EncodedSlot, Wanted};
use millrace_core::definitions::View;
use millrace_core::finished::{Finished, Found};
use millrace_core::status;
use serde_json::Value as Json;

use super::time::ReadTime;
use crate::catalog::store_name;

/// Values of the wanted features from the stored slots of a view. None stands for a slot that is not stored.
pub fn from_slots(view: &View, wanted: &Wanted, stored: &[Option<Vec<u8>>], at: ReadTime) -> Vec<FeatureValue> {
    let slots = stored.iter().flatten().map(|bytes| EncodedSlot::open(view, bytes)).collect::<Result<Vec<_>, _>>();
    let values = slots.and_then(|slots| assemble_encoded(view, &slots, wanted, |since| at.at(since)));
    values.unwrap_or_else(|error| undecodable(view, wanted.features(), &error))
}

/// Errors in place of values whose stored state cannot be decoded. Counts and logs it.
pub fn undecodable(view: &View, wanted: &[usize], error: &impl Display) -> Vec<FeatureValue> {
    metrics::counter!("millrace_slots_undecodable_total", "sink" => "feature-server").increment(1);
    tracing::error!(view = view.id(), %error, "slot undecodable");
    failed(view, wanted, None, &format!("the stored state cannot be read: {error}"))
}

/// Values from the one slot of a batch view. Where a run older than `completed` wrote it, the last completed run did not
/// find the entity, so it has no values.
pub fn from_batch_slot(
    view: &View,
    wanted: &Wanted,
    stored: &[Option<Vec<u8>>],
    completed: u32,
    at: ReadTime,
) -> Vec<FeatureValue> {
    let run = stored.iter().flatten().find_map(|bytes| codec::checkpoint(bytes).ok()).map(Run::of);
    match run {
        Some(run) if run.number < completed => from_slots(view, wanted, &[], at),
        Some(run) => written_by(run, from_slots(view, wanted, stored, at)),
        None => from_slots(view, wanted, stored, at),
    }
}

/// Values of the wanted features from what a store found for a key. Values of a run older than `completed` do not count.
pub fn from_found(
    view: &View,
    wanted: &[usize],
    found: Found<Finished>,
    completed: Option<u32>,
    at: ReadTime,
) -> Vec<FeatureValue> {
    let finished = match found {
        Found::Known(finished) => finished,
        Found::Unknown => return missing(view, wanted, Status::NotFound, None),
        Found::Unreadable(reason) => {
            return failed(view, wanted, None, &format!("{}: {reason}", store_name(view.store)));
        }
    };
    match finished.run {
        Some(run) if completed.is_some_and(|completed| run.number < completed) => {
            missing(view, wanted, Status::NotFound, None)
        }
        Some(run) => written_by(run, judged(view, wanted, finished, Some(run.as_of), at)),
        None => judged(view, wanted, finished, None, at),
    }
}

/// Of finished values that stand for `features`, those of the wanted ones.
pub fn select(finished: &Finished, features: &[usize], wanted: &[usize]) -> Finished {
    let value = |index: &usize| {
        let place = features.iter().position(|feature| feature == index);
        let value = place.and_then(|place| finished.values.get(place));
        value.cloned().unwrap_or_else(|| Err("the store left this feature out".to_owned()))
    };
    Finished { newest: finished.newest, run: finished.run, values: wanted.iter().map(value).collect() }
}

/// Errors in place of values that could not be read.
pub fn failed(view: &View, wanted: &[usize], newest: Option<i64>, reason: &str) -> Vec<FeatureValue> {
    let one =
        |index: &usize| FeatureValue::missing(&view.features[*index], Status::Error, newest, Some(reason.to_owned()));
    wanted.iter().map(one).collect()
}

/// Judges finished values at an instant, by the rule that slots obey too.
fn judged(
    view: &View,
    wanted: &[usize],
    finished: Finished,
    run_as_of: Option<i64>,
    at: ReadTime,
) -> Vec<FeatureValue> {
    let t = at.at(finished.newest.max(run_as_of));
    let newest = match status::defined_at(view, finished.newest, run_as_of, t) {
        Ok(newest) => newest,
        Err(undefined) => return undefined.values(view, wanted),
    };
    let one = |(index, value): (&usize, Result<Option<Json>, String>)| match value {
        Ok(value) => FeatureValue::found(&view.features[*index], value, Some(newest)),
        Err(reason) => FeatureValue::missing(&view.features[*index], Status::Error, Some(newest), Some(reason)),
    };
    wanted.iter().zip(finished.values).map(one).collect()
}

fn missing(view: &View, wanted: &[usize], status: Status, newest: Option<i64>) -> Vec<FeatureValue> {
    wanted.iter().map(|index| FeatureValue::missing(&view.features[*index], status, newest, None)).collect()
}

fn written_by(run: Run, mut values: Vec<FeatureValue>) -> Vec<FeatureValue> {
    values.iter_mut().for_each(|value| value.run = Some(run.number));
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::aggregate::Stamp;
    use millrace_core::batch::RowReader;
    use millrace_core::codec;
    use millrace_core::definitions::{Definitions, DefinitionsSource};
    use millrace_core::partition::Partition;
    use millrace_core::position::Position;
    use millrace_core::slot::Slot;
    use millrace_core::sql::BatchColumns;
    use serde_json::json;

    fn view() -> View {
        let yaml = r#"
entities: { user: { key: user_id, type: string } }
events: { click: { partition_by: user } }
views:
  - name: clicks
    entity: user
    from: [click]
    ttl: 1h
    features: [{ name: n, agg: count, windows: [1m], default: -1 }]
"#;
        let source = DefinitionsSource { yaml: yaml.into(), schemas: Default::default() };
        Definitions::compile(source).unwrap().views.remove(0)
    }

    fn first(view: &View) -> Wanted {
        Wanted::new(view, vec![0])
    }

    fn slot(view: &View, times: &[i64]) -> Vec<u8> {
        let mut slot = Slot::empty(view);
        for (seq, time) in times.iter().enumerate() {
            let position = Position::new(9_000_000, seq as u64 + 1);
            let stamp = Stamp { feature_time: *time, event_id: "e", position, partition: Partition(0) };
            slot.absorb(view, stamp, &[]).unwrap();
        }
        codec::encode(&slot)
    }

    fn at(as_of: Option<i64>, now: i64) -> ReadTime {
        ReadTime { as_of, now }
    }

    #[test]
    fn slots_of_several_writers_are_one_value() {
        let view = view();
        let stored = [Some(slot(&view, &[1_000, 2_000])), None, Some(slot(&view, &[3_000]))];
        let values = from_slots(&view, &first(&view), &stored, at(None, 4_000));
        assert_eq!(
            (&values[0].value, values[0].status, values[0].event_time),
            (&json!(3), Status::Present, Some(3_000))
        );
    }

    #[test]
    fn now_is_never_before_the_newest_event() {
        let view = view();
        let stored = [Some(slot(&view, &[5_000]))];
        assert_eq!(from_slots(&view, &first(&view), &stored, at(None, 4_000))[0].status, Status::Present);
        assert_eq!(from_slots(&view, &first(&view), &stored, at(Some(4_999), 9_000))[0].status, Status::Error);
        let finished = Found::Known(Finished { newest: Some(5_000), run: None, values: vec![Ok(Some(json!(1)))] });
        assert_eq!(from_found(&view, &[0], finished.clone(), None, at(None, 4_000))[0].status, Status::Present);
        assert_eq!(from_found(&view, &[0], finished, None, at(Some(4_999), 9_000))[0].status, Status::Error);
    }

    #[test]
    fn the_default_stands_in_and_the_status_says_why() {
        let view = view();
        let hour = 3_600_000;
        let status = |values: Vec<FeatureValue>| (values[0].value.clone(), values[0].status);
        assert_eq!(status(from_slots(&view, &first(&view), &[None], at(None, 0))), (json!(-1), Status::NotFound));
        assert_eq!(status(from_found(&view, &[0], Found::Unknown, None, at(None, 0))), (json!(-1), Status::NotFound));
        let old = Found::Known(Finished { newest: Some(0), run: None, values: vec![Ok(Some(json!(1)))] });
        assert_eq!(status(from_found(&view, &[0], old, None, at(None, hour + 1))), (json!(-1), Status::OutsideMaxAge));
        let stored = [Some(slot(&view, &[0]))];
        assert_eq!(
            status(from_slots(&view, &first(&view), &stored, at(None, hour + 1))),
            (json!(-1), Status::OutsideMaxAge)
        );
        let null = Found::Known(Finished { newest: Some(0), run: None, values: vec![Ok(None)] });
        assert_eq!(status(from_found(&view, &[0], null, None, at(None, 0))), (json!(-1), Status::NullValue));
    }

    #[test]
    fn an_undecodable_slot_is_an_error_and_never_a_guess() {
        let view = view();
        let values =
            from_slots(&view, &first(&view), &[Some(slot(&view, &[1_000])), Some(b"junk".to_vec())], at(None, 2_000));
        assert_eq!((&values[0].value, values[0].status), (&json!(-1), Status::Error));
        assert!(values[0].reason.as_deref().unwrap().contains("cannot be read"));
    }

    const RUN: Run = Run { number: 7, as_of: 1_700_000_000_000 };

    fn batch_view() -> Definitions {
        let yaml = r#"
entities: { user: { key: user_id, type: int64 } }
views: [{ name: n, entity: user, query: SELECT 1, features: [{ name: n, type: int64, default: -1 }] }]
"#;
        Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: Default::default() }).unwrap()
    }

    #[test]
    fn a_batch_value_counts_from_the_last_completed_run_on_and_names_its_run() {
        let definitions = batch_view();
        let view = &definitions.views[0];
        let reader = RowReader::new(&definitions, view, BatchColumns { event_time: false }, RUN, 0);
        let stored = [Some(codec::encode(&reader.read("[1,5]").unwrap().1))];
        let hour = 3_600_000;
        let seen = |completed: u32, now: i64| {
            let values = from_batch_slot(view, &first(view), &stored, completed, at(None, now));
            let value = (values[0].value.clone(), values[0].status, values[0].run);
            let finished = Finished { newest: Some(5), run: Some(RUN), values: vec![Ok(Some(json!(5)))] };
            let of_document = from_found(view, &[0], Found::Known(finished), Some(completed), at(None, now));
            assert_eq!((of_document[0].value.clone(), of_document[0].status, of_document[0].run), value);
            value
        };
        let now = RUN.as_of + hour;
        assert_eq!(seen(0, now), (json!(5), Status::Present, Some(7)));
        assert_eq!(seen(7, now), (json!(5), Status::Present, Some(7)));
        assert_eq!(seen(8, now), (json!(-1), Status::NotFound, None));
        assert_eq!(seen(7, RUN.as_of + 26 * hour), (json!(-1), Status::OutsideMaxAge, Some(7)));
        let junk = from_batch_slot(view, &first(view), &[Some(b"junk".to_vec())], 7, at(None, now));
        assert_eq!(junk[0].status, Status::Error);
    }
}
