//! The part of one store in the answer to one request.

use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::Store;

use super::plan::ViewPlan;
use super::request::FeatureRequest;
use super::values::failed;
use crate::catalog::store_name;

/// One store's part of an answer.
#[derive(Default)]
pub struct StorePart {
    /// For each of the store's views in the plan, for each key, the wanted values.
    pub views: Vec<Vec<Vec<FeatureValue>>>,
    /// Why the store did not answer in full.
    pub unavailable: Option<String>,
}

impl StorePart {
    /// The part of a store that did not answer at all. Empty where the request wants nothing of the store.
    pub fn failed(request: &FeatureRequest, views: &[ViewPlan], reason: &str) -> Self {
        let plan = &*request.plan;
        let of_view = |part: &ViewPlan| {
            request.keys.iter().map(|_| failed(plan.view(part), part.wanted.features(), None, reason)).collect()
        };
        Self { views: views.iter().map(of_view).collect(), unavailable: (!views.is_empty()).then(|| reason.to_owned()) }
    }
}

/// The parts of a store of which no request wants anything.
pub fn nothing(requests: &[FeatureRequest]) -> Vec<StorePart> {
    requests.iter().map(|_| StorePart::default()).collect()
}

/// Counts a read that a store did not answer in full.
pub fn count_error(store: Store) {
    metrics::counter!("millrace_read_store_errors_total", "store" => store_name(store)).increment(1);
}
