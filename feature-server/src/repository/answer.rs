//! The repository's answer, before an API gives it its own form.

use millrace_core::assemble::{FeatureValue, Status};
use millrace_core::definitions::Store;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureAnswer {
    /// One row per key, in order.
    pub rows: Vec<EntityRow>,
    /// The instant that the values are of, epoch ms.
    pub as_of: i64,
    /// The stores that did not answer in full, and why.
    pub unavailable: Vec<(Store, String)>,
}

/// The features of one entity, in the plan's order.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityRow {
    /// The values.
    pub values: Vec<FeatureValue>,
}

impl EntityRow {
    /// Whether no view knows the entity.
    pub fn is_unknown(&self) -> bool {
        self.values.iter().all(|value| value.status == Status::NotFound)
    }

    /// Why a value could not be read, if there is such a value.
    pub fn failure(&self) -> Option<&str> {
        let failed = self.values.iter().find(|value| value.status == Status::Error)?;
        Some(failed.reason.as_deref().unwrap_or("a value could not be read"))
    }

    /// The status of the whole row: ERROR if any value could not be read, NOT_FOUND if no view knows the entity.
    pub fn status(&self) -> Status {
        if self.values.iter().any(|value| value.status == Status::Error) {
            return Status::Error;
        }
        if self.is_unknown() { Status::NotFound } else { Status::Present }
    }
}
