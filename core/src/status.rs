//! A feature's answer with its status, and the one rule for whether a view's values of a key are defined at an instant.
//! All stores and engines use this rule; they compute the defined values themselves.

use serde_json::Value as Json;

use crate::definitions::{Feature, View};

/// Whether a feature has a value at an instant, and if not, why.
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
    /// The value, or the declared default where the feature has no value.
    pub value: Json,
    /// Whether the feature has a value, and if not, why. A default in `value` does not change it.
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

/// Why a view has no values of a key at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undefined {
    /// The status of each value.
    pub status: Status,
    /// Why, where that is an error.
    pub reason: Option<&'static str>,
    /// The greatest feature time that the view has absorbed, epoch ms.
    pub newest: Option<i64>,
}

impl Undefined {
    /// The answer for each wanted feature.
    pub fn values(self, view: &View, wanted: &[usize]) -> Vec<FeatureValue> {
        let value = |index: &usize| {
            let reason = self.reason.map(str::to_owned);
            FeatureValue::missing(&view.features[*index], self.status, self.newest, reason)
        };
        wanted.iter().map(value).collect()
    }
}

/// The newest event of a view's values of one key, if these values are defined at `t`. Values are defined, and their age
/// counts, from the newest event on; those of a batch view from the instant of its run on, even if a row has an earlier event time.
///
/// `newest` is missing where the view knows no event of the key, and `run_as_of` where no run wrote its values.
pub fn defined_at(view: &View, newest: Option<i64>, run_as_of: Option<i64>, t: i64) -> Result<i64, Undefined> {
    let undefined = |status, reason| Err(Undefined { status, reason, newest });
    let Some(known) = newest else { return undefined(Status::NotFound, None) };
    let since = run_as_of.map_or(known, |as_of| as_of.max(known));
    if t < since {
        return undefined(Status::Error, Some("as_of is before the newest event that this view has absorbed"));
    }
    if view.ttl.is_some_and(|ttl| t - since > ttl) {
        return undefined(Status::OutsideMaxAge, None);
    }
    Ok(known)
}
