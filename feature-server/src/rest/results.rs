//! The form of `/v1/features`: values, and on request their statuses, times and sources.

use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::View;
use millrace_core::key::KeyText;

use crate::catalog::store_name;
use crate::fast_path::json::{JsonResult, JsonWriter};
use crate::repository::{EntityRow, FeatureAnswer, Plan};

/// Bytes to reserve for a value with its name, and for its metadata.
const VALUE_BYTES: usize = 64;
const METADATA_BYTES: usize = 192;

/// `{"entity","results":[{"key","status","values","metadata"?}],"as_of"}`.
pub(super) struct FeatureResults<'a> {
    pub(super) plan: &'a Plan,
    pub(super) keys: &'a [KeyText],
    pub(super) answer: &'a FeatureAnswer,
    pub(super) metadata: bool,
}

impl FeatureResults<'_> {
    pub(super) fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let of_value = if self.metadata { VALUE_BYTES + METADATA_BYTES } else { VALUE_BYTES };
        let mut json = JsonWriter::with_capacity((self.plan.features.len() + 2) * self.keys.len() * of_value);
        json.object(|json| {
            json.name("entity").plain(&self.plan.entity().name);
            json.name("results").list(|json| {
                self.keys.iter().zip(&self.answer.rows).try_for_each(|(key, row)| self.row(json, key, row))
            })?;
            json.name("as_of").instant(self.answer.as_of);
            Ok(())
        })?;
        Ok(json.finish())
    }

    fn row(&self, json: &mut JsonWriter, key: &KeyText, row: &EntityRow) -> JsonResult {
        json.object(|json| {
            json.name("key").key(self.plan.entity(), key)?;
            json.name("status").plain(row.status().as_str());
            json.name("values").object(|json| values(json, &self.plan.names, row))?;
            if self.metadata {
                json.name("metadata").object(|json| self.metadata(json, row))?;
            }
            Ok(())
        })
    }

    fn metadata(&self, json: &mut JsonWriter, row: &EntityRow) -> JsonResult {
        let features = self.plan.names.iter().zip(&self.plan.features);
        features
            .zip(&row.values)
            .try_for_each(|((name, (view, _)), value)| self.metadata_of(json.name(name), *view, value))
    }

    fn metadata_of(&self, json: &mut JsonWriter, view: usize, value: &FeatureValue) -> JsonResult {
        let view = &self.plan.definitions.views[view];
        json.object(|json| {
            json.name("status").plain(value.status.as_str());
            json.name("event_time").maybe_instant(value.event_time)?;
            json.name("source").plain(store_name(view.store));
            json.name("view").plain(&view.name);
            json.name("version").value(&view.version)?;
            job_and_reason(json, view, value)
        })
    }
}

/// Writes the job and the reason, which only some values have.
pub(super) fn job_and_reason(json: &mut JsonWriter, view: &View, value: &FeatureValue) -> JsonResult {
    if let Some(run) = value.run {
        json.name("job_id").plain(&view.job_id(run));
    }
    match &value.reason {
        Some(reason) => json.name("reason").value(reason),
        None => Ok(()),
    }
}

/// Writes the names and values of a row.
pub(super) fn values(json: &mut JsonWriter, names: &[String], row: &EntityRow) -> JsonResult {
    names.iter().zip(&row.values).try_for_each(|(name, value)| json.name(name).value(&value.value))
}
