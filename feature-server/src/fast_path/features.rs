//! Writes the answers of `millrace.v1`: which fields they have, and in which order.

use std::borrow::Cow;

use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Entity, ValueType, View};
use millrace_core::key::KeyText;

use super::fields::{
    batch_get_features_response as batch, column, feature_value as feature, get_features_response as one, metadata,
    row, stream_features_response as part,
};
use super::protobuf::{MessageWriter, WrittenMessage};
use super::value::{instant, status, typed};
use crate::catalog::store_name;
use crate::repository::{EntityRow, FeatureAnswer, FeatureRequest, Plan};

/// Bytes to reserve for a value, and for its metadata.
const VALUE_BYTES: usize = 32;
const METADATA_BYTES: usize = 96;
/// A message of a stream ends with the row that makes it this long. Clients accept 4 MiB unless they are configured otherwise.
const PART_BYTES: usize = 1 << 20;

/// An answer that is to be written, with the request that it answers.
pub(crate) struct FeatureMessages<'a> {
    pub(crate) request: &'a FeatureRequest,
    pub(crate) answer: &'a FeatureAnswer,
    /// Whether each value's time, source and reason are written.
    pub(crate) metadata: bool,
}

impl FeatureMessages<'_> {
    /// Writes a `GetFeaturesResponse`: the features of the only key, each with its name.
    pub(crate) fn one(&self) -> WrittenMessage {
        let mut message = self.message();
        message.text(one::ENTITY, &self.plan().entity().name);
        for (text, row) in self.request.keys.iter().zip(&self.answer.rows) {
            message.text(one::KEY, &key(self.plan().entity(), text));
            message.int(one::STATUS, status(row.status()));
            for ((name, (view, kind)), value) in self.plan().names.iter().zip(declared(self.plan())).zip(&row.values) {
                message.nested(one::FEATURES, |message| self.feature(message, name, view, kind, value));
            }
        }
        instant(&mut message, one::AS_OF, self.answer.as_of);
        message.finish()
    }

    /// Writes a `BatchGetFeaturesResponse`: a row for each key.
    pub(crate) fn batch(&self) -> WrittenMessage {
        let mut message = self.message();
        message.text(batch::ENTITY, &self.plan().entity().name);
        self.columns(&mut message, batch::COLUMNS);
        for (key, row) in self.request.keys.iter().zip(&self.answer.rows) {
            message.nested(batch::ROWS, |message| self.row(message, key, row));
        }
        instant(&mut message, batch::AS_OF, self.answer.as_of);
        message.finish()
    }

    /// Writes `StreamFeaturesResponse`s that are short enough for clients. Only the first of a stream has columns.
    pub(crate) fn parts(&self, first: bool) -> Vec<WrittenMessage> {
        let mut messages = Vec::with_capacity(1);
        let mut message = self.message();
        if first {
            self.columns(&mut message, part::COLUMNS);
        }
        for (key, row) in self.request.keys.iter().zip(&self.answer.rows) {
            if message.len() >= PART_BYTES {
                messages.push(self.part(std::mem::take(&mut message)));
            }
            message.nested(part::ROWS, |message| self.row(message, key, row));
        }
        messages.push(self.part(message));
        messages
    }

    fn part(&self, mut message: MessageWriter) -> WrittenMessage {
        instant(&mut message, part::AS_OF, self.answer.as_of);
        message.finish()
    }

    fn plan(&self) -> &Plan {
        &self.request.plan
    }

    fn message(&self) -> MessageWriter {
        let of_value = if self.metadata { VALUE_BYTES + METADATA_BYTES } else { VALUE_BYTES };
        MessageWriter::with_capacity((self.plan().features.len() + 2) * (self.request.keys.len() + 2) * of_value)
    }

    fn feature(&self, message: &mut MessageWriter, name: &str, view: &View, kind: &ValueType, value: &FeatureValue) {
        message.text(feature::NAME, name);
        message.nested(feature::VALUE, |message| typed(message, kind, &value.value));
        message.int(feature::STATUS, status(value.status));
        if !self.metadata {
            return;
        }
        if let Some(ms) = value.event_time {
            instant(message, feature::EVENT_TIME, ms);
        }
        message.text(feature::SOURCE, store_name(view.store));
        message.int(feature::VERSION, view.version);
        job_and_reason(message, feature::JOB_ID, feature::REASON, view, value);
    }

    /// Writes the columns: what the values of each row are.
    fn columns(&self, message: &mut MessageWriter, field: u32) {
        for (name, (view, _)) in self.plan().names.iter().zip(declared(self.plan())) {
            message.nested(field, |message| {
                message.text(column::NAME, name);
                message.text(column::SOURCE, store_name(view.store));
                message.int(column::VERSION, view.version);
            });
        }
    }

    fn row(&self, message: &mut MessageWriter, text: &KeyText, row: &EntityRow) {
        message.text(row::KEY, &key(self.plan().entity(), text));
        message.int(row::STATUS, status(row.status()));
        for (value, (_, kind)) in row.values.iter().zip(declared(self.plan())) {
            message.nested(row::VALUES, |message| typed(message, kind, &value.value));
        }
        message.nested(row::STATUSES, |statuses| {
            row.values.iter().for_each(|value| statuses.item(status(value.status)));
        });
        if !self.metadata {
            return;
        }
        for (value, (view, _)) in row.values.iter().zip(declared(self.plan())) {
            message.nested(row::METADATA, |message| {
                if let Some(ms) = value.event_time {
                    instant(message, metadata::EVENT_TIME, ms);
                }
                job_and_reason(message, metadata::JOB_ID, metadata::REASON, view, value);
            });
        }
    }
}

/// Writes the job and the reason, which only some values have.
fn job_and_reason(message: &mut MessageWriter, job_id: u32, reason: u32, view: &View, value: &FeatureValue) {
    if let Some(run) = value.run {
        message.text(job_id, &view.job_id(run));
    }
    if let Some(text) = &value.reason {
        message.text(reason, text);
    }
}

/// A key as readers write it: an integer in decimal, a text as it is, a composite key as its canonical text.
fn key<'a>(entity: &Entity, key: &'a KeyText) -> Cow<'a, str> {
    match entity.key.as_slice() {
        [_] if key.as_str().contains('%') => key.parts().swap_remove(0).into(),
        _ => key.as_str().into(),
    }
}

/// The view and the type of each feature of a plan.
fn declared(plan: &Plan) -> impl Iterator<Item = (&View, &ValueType)> {
    let views = &plan.definitions.views;
    plan.features.iter().map(|(view, feature)| (&views[*view], &views[*view].features[*feature].value_type))
}
