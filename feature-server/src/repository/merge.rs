//! Merges the parts of the three stores into the rows of one answer.

use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::Store;

use super::answer::{EntityRow, FeatureAnswer};
use super::plan::{Plan, ViewPlan};
use super::request::FeatureRequest;
use super::store_part::StorePart;
use super::values::failed;

/// A request's answer from what Redis, MongoDB and ClickHouse know.
pub fn merge(request: &FeatureRequest, now: i64, parts: [(Store, StorePart); 3]) -> FeatureAnswer {
    let plan = &*request.plan;
    let mut rows = MergedRows::new(plan, request.keys.len());
    let mut unavailable = Vec::new();
    for (store, part) in parts {
        rows.place(plan.views(store), part.views);
        unavailable.extend(part.unavailable.map(|reason| (store, reason)));
    }
    let rows = rows.finish(plan);
    let newest = rows.iter().flat_map(|row| &row.values).filter_map(|value| value.event_time).max();
    FeatureAnswer { rows, as_of: request.time(now).at(newest), unavailable }
}

/// Rows whose values are put in place store by store.
struct MergedRows(Vec<Vec<Option<FeatureValue>>>);

impl MergedRows {
    fn new(plan: &Plan, keys: usize) -> Self {
        Self((0..keys).map(|_| (0..plan.features.len()).map(|_| None).collect()).collect())
    }

    fn place(&mut self, views: &[ViewPlan], values: Vec<Vec<Vec<FeatureValue>>>) {
        for (view, keys) in views.iter().zip(values) {
            view.served.count(keys.iter().flatten());
            for (row, values) in self.0.iter_mut().zip(keys) {
                for (place, value) in view.places.iter().zip(values) {
                    row[*place] = Some(value);
                }
            }
        }
    }

    fn finish(self, plan: &Plan) -> Vec<EntityRow> {
        let missing = |place: usize| {
            let (view, feature) = plan.features[place];
            failed(&plan.definitions.views[view], &[feature], None, "the store left this feature out").remove(0)
        };
        let row = |values: Vec<Option<FeatureValue>>| EntityRow {
            values: values.into_iter().enumerate().map(|(place, v)| v.unwrap_or_else(|| missing(place))).collect(),
        };
        self.0.into_iter().map(row).collect()
    }
}
