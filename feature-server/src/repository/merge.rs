//! From what a store answered to the truth about each value. Where there is no value, the declared default stands in
//! and the status says so. Redis slots are assembled by `core`; finished values of the other stores are judged by
//! the same rules here.

use std::fmt::Display;

use millrace_core::assemble::{FeatureValue, Status, assemble_encoded};
use millrace_core::batch::Run;
use millrace_core::codec::{self, EncodedSlot, Wanted};
use millrace_core::definitions::View;
use serde_json::Value as Json;

/// When values are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// As the reader asked, epoch ms; none: now, or a view's newest event if that is later.
    pub as_of: Option<i64>,
    /// The clock.
    pub now: i64,
}

/// Values that a store has finished itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Feature time of the newest event in them, epoch ms; none: no event, so the entity is not known.
    pub newest: Option<i64>,
    /// The run that wrote them, of a batch view.
    pub run: Option<Run>,
    /// For each wanted feature its value, none where there is nothing to show, or why it cannot be had.
    pub values: Vec<Result<Option<Json>, String>>,
}

impl Instant {
    /// The instant at which a view is read whose newest event is at `newest`.
    pub fn of(self, newest: Option<i64>) -> i64 {
        self.as_of.unwrap_or_else(|| newest.map_or(self.now, |newest| newest.max(self.now)))
    }
}

impl Finished {
    /// Of values that stand for `features`, those of the wanted ones.
    pub fn only(&self, features: &[usize], wanted: &[usize]) -> Self {
        let value = |index: &usize| {
            let place = features.iter().position(|feature| feature == index);
            let value = place.and_then(|place| self.values.get(place));
            value.cloned().unwrap_or_else(|| Err("the store left this out".to_owned()))
        };
        Self { newest: self.newest, run: self.run, values: wanted.iter().map(value).collect() }
    }
}

/// Values of the wanted features from a view's slots as stored; `none` where there is no slot.
pub fn from_slots(view: &View, wanted: &Wanted, stored: &[Option<Vec<u8>>], at: Instant) -> Vec<FeatureValue> {
    let slots = stored.iter().flatten().map(|bytes| EncodedSlot::open(view, bytes)).collect::<Result<Vec<_>, _>>();
    let values = slots.and_then(|slots| assemble_encoded(view, &slots, wanted, |since| at.of(since)));
    values.unwrap_or_else(|error| unreadable(view, wanted.features(), &error))
}

/// What is stored of one entity is nothing of ours: that costs its own values.
pub fn unreadable(view: &View, wanted: &[usize], error: &impl Display) -> Vec<FeatureValue> {
    metrics::counter!("millrace_slots_undecodable_total", "sink" => "feature-server").increment(1);
    tracing::error!(view = view.id(), %error, "slot undecodable");
    failed(view, wanted, None, &format!("the stored state cannot be read: {error}"))
}

/// The same of a batch view's one slot. What a run older than `completed` wrote is not there: the run that completed
/// after it did not find the entity.
pub fn from_batch_slot(
    view: &View,
    wanted: &Wanted,
    stored: &[Option<Vec<u8>>],
    completed: u32,
    at: Instant,
) -> Vec<FeatureValue> {
    let run = stored.iter().flatten().find_map(|bytes| codec::checkpoint(bytes).ok()).map(Run::of);
    match run {
        Some(run) if run.number < completed => from_slots(view, wanted, &[], at),
        Some(run) => written_by(run, from_slots(view, wanted, stored, at)),
        None => from_slots(view, wanted, stored, at),
    }
}

fn written_by(run: Run, mut values: Vec<FeatureValue>) -> Vec<FeatureValue> {
    values.iter_mut().for_each(|value| value.run = Some(run.number));
    values
}

/// Values of the wanted features as a store has finished them; none where it does not know the entity. Those that a run
/// older than `completed` wrote are not there.
pub fn from_finished(
    view: &View,
    wanted: &[usize],
    finished: Option<Finished>,
    completed: Option<u32>,
    at: Instant,
) -> Vec<FeatureValue> {
    let newest = finished.as_ref().and_then(|finished| finished.newest);
    match finished.as_ref().and_then(|finished| finished.run) {
        Some(run) if completed.is_some_and(|completed| run.number < completed) => judged(view, wanted, None, None, at),
        Some(run) => written_by(run, judged(view, wanted, finished, newest.max(Some(run.as_of)), at)),
        None => judged(view, wanted, finished, newest, at),
    }
}

/// `since`: from when on the values are defined, and from when their age is counted.
fn judged(
    view: &View,
    wanted: &[usize],
    finished: Option<Finished>,
    since: Option<i64>,
    at: Instant,
) -> Vec<FeatureValue> {
    let missing = |status, newest| {
        wanted.iter().map(|index| FeatureValue::missing(&view.features[*index], status, newest, None)).collect()
    };
    let Some((newest, values)) = finished.and_then(|finished| Some((finished.newest?, finished.values))) else {
        return missing(Status::NotFound, None);
    };
    let since = since.unwrap_or(newest);
    let t = at.of(Some(since));
    if t < since {
        let reason = "as_of is before the newest event that this view has absorbed";
        return failed(view, wanted, Some(newest), reason);
    }
    if view.ttl.is_some_and(|ttl| t - since > ttl) {
        return missing(Status::OutsideMaxAge, Some(newest));
    }
    let one = |(index, value): (&usize, Result<Option<Json>, String>)| match value {
        Ok(value) => FeatureValue::found(&view.features[*index], value, Some(newest)),
        Err(reason) => FeatureValue::missing(&view.features[*index], Status::Error, Some(newest), Some(reason)),
    };
    wanted.iter().zip(values).map(one).collect()
}

/// No value could be had.
pub fn failed(view: &View, wanted: &[usize], newest: Option<i64>, reason: &str) -> Vec<FeatureValue> {
    let one =
        |index: &usize| FeatureValue::missing(&view.features[*index], Status::Error, newest, Some(reason.to_owned()));
    wanted.iter().map(one).collect()
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
            slot.absorb(view, stamp, &[]);
        }
        codec::encode(&slot)
    }

    fn at(as_of: Option<i64>, now: i64) -> Instant {
        Instant { as_of, now }
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
        let finished = Some(Finished { newest: Some(5_000), run: None, values: vec![Ok(Some(json!(1)))] });
        assert_eq!(from_finished(&view, &[0], finished.clone(), None, at(None, 4_000))[0].status, Status::Present);
        assert_eq!(from_finished(&view, &[0], finished, None, at(Some(4_999), 9_000))[0].status, Status::Error);
    }

    #[test]
    fn the_default_stands_in_and_the_status_says_why() {
        let view = view();
        let hour = 3_600_000;
        let status = |values: Vec<FeatureValue>| (values[0].value.clone(), values[0].status);
        assert_eq!(status(from_slots(&view, &first(&view), &[None], at(None, 0))), (json!(-1), Status::NotFound));
        assert_eq!(status(from_finished(&view, &[0], None, None, at(None, 0))), (json!(-1), Status::NotFound));
        let old = Some(Finished { newest: Some(0), run: None, values: vec![Ok(Some(json!(1)))] });
        assert_eq!(
            status(from_finished(&view, &[0], old, None, at(None, hour + 1))),
            (json!(-1), Status::OutsideMaxAge)
        );
        let stored = [Some(slot(&view, &[0]))];
        assert_eq!(
            status(from_slots(&view, &first(&view), &stored, at(None, hour + 1))),
            (json!(-1), Status::OutsideMaxAge)
        );
        let null = Some(Finished { newest: Some(0), run: None, values: vec![Ok(None)] });
        assert_eq!(status(from_finished(&view, &[0], null, None, at(None, 0))), (json!(-1), Status::NullValue));
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
            let of_document = from_finished(view, &[0], Some(finished), Some(completed), at(None, now));
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
