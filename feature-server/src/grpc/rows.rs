//! Answers of `millrace.v1`, written as they go out.

use std::borrow::Cow;

use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Entity, ValueType, View};
use millrace_core::key::KeyText;

use super::message::{MessageWriter, Written};
use super::value::{instant, status, typed};
use crate::catalog::store_name;
use crate::repository::{Answer, EntityRow, Plan, Request};

/// Room for a value, and for what is said about it.
const VALUE_BYTES: usize = 32;
const METADATA_BYTES: usize = 96;
/// A message of a stream that has as much ends with that row: clients take 4 MiB unless told otherwise.
const PART_BYTES: usize = 1 << 20;

/// Fields of the message `GetFeaturesResponse`.
mod one {
    pub(super) const ENTITY: u32 = 1;
    pub(super) const KEY: u32 = 2;
    pub(super) const STATUS: u32 = 3;
    pub(super) const FEATURES: u32 = 4;
    pub(super) const AS_OF: u32 = 5;
}

/// Fields of the message `FeatureValue`.
mod feature {
    pub(super) const NAME: u32 = 1;
    pub(super) const VALUE: u32 = 2;
    pub(super) const STATUS: u32 = 3;
    pub(super) const EVENT_TIME: u32 = 4;
    pub(super) const SOURCE: u32 = 5;
    pub(super) const VERSION: u32 = 6;
    pub(super) const JOB_ID: u32 = 7;
    pub(super) const REASON: u32 = 8;
}

/// Fields of the message `BatchGetFeaturesResponse`.
mod batch {
    pub(super) const ENTITY: u32 = 1;
    pub(super) const COLUMNS: u32 = 2;
    pub(super) const ROWS: u32 = 3;
    pub(super) const AS_OF: u32 = 4;
}

/// Fields of the message `StreamFeaturesResponse`.
mod part {
    pub(super) const COLUMNS: u32 = 1;
    pub(super) const ROWS: u32 = 2;
    pub(super) const AS_OF: u32 = 3;
}

/// Fields of the message `Column`.
mod column {
    pub(super) const NAME: u32 = 1;
    pub(super) const SOURCE: u32 = 2;
    pub(super) const VERSION: u32 = 3;
}

/// Fields of the message `Row`.
mod row {
    pub(super) const KEY: u32 = 1;
    pub(super) const STATUS: u32 = 2;
    pub(super) const VALUES: u32 = 3;
    pub(super) const STATUSES: u32 = 4;
    pub(super) const METADATA: u32 = 5;
}

/// Fields of the message `Metadata`.
mod about {
    pub(super) const EVENT_TIME: u32 = 1;
    pub(super) const JOB_ID: u32 = 2;
    pub(super) const REASON: u32 = 3;
}

/// What was asked, what was read, and whether to say of each value when, from where and why.
pub(super) struct Answered<'a> {
    pub(super) asked: &'a Request,
    pub(super) answer: &'a Answer,
    pub(super) metadata: bool,
}

impl Answered<'_> {
    /// A `GetFeaturesResponse`: the features of the only key, each with its name.
    pub(super) fn one(&self) -> Written {
        let mut message = self.message();
        message.text(one::ENTITY, &self.plan().entity().name);
        for (text, row) in self.asked.keys.iter().zip(&self.answer.rows) {
            message.text(one::KEY, &key(self.plan().entity(), text));
            message.int(one::STATUS, status(row.status()));
            for ((name, (view, kind)), value) in self.plan().names.iter().zip(declared(self.plan())).zip(&row.values) {
                message.nested(one::FEATURES, |message| self.feature(message, name, view, kind, value));
            }
        }
        instant(&mut message, one::AS_OF, self.answer.as_of);
        message.finish()
    }

    /// A `BatchGetFeaturesResponse`: a row for each key.
    pub(super) fn batch(&self) -> Written {
        let mut message = self.message();
        message.text(batch::ENTITY, &self.plan().entity().name);
        self.columns(&mut message, batch::COLUMNS);
        for (key, row) in self.asked.keys.iter().zip(&self.answer.rows) {
            message.nested(batch::ROWS, |message| self.row(message, key, row));
        }
        instant(&mut message, batch::AS_OF, self.answer.as_of);
        message.finish()
    }

    /// `StreamFeaturesResponse`s that clients take, of which only the first has columns.
    pub(super) fn parts(&self, first: bool) -> Vec<Written> {
        let mut messages = Vec::with_capacity(1);
        let mut message = self.message();
        if first {
            self.columns(&mut message, part::COLUMNS);
        }
        for (key, row) in self.asked.keys.iter().zip(&self.answer.rows) {
            if message.len() >= PART_BYTES {
                messages.push(self.part(std::mem::take(&mut message)));
            }
            message.nested(part::ROWS, |message| self.row(message, key, row));
        }
        messages.push(self.part(message));
        messages
    }

    fn part(&self, mut message: MessageWriter) -> Written {
        instant(&mut message, part::AS_OF, self.answer.as_of);
        message.finish()
    }

    fn plan(&self) -> &Plan {
        &self.asked.plan
    }

    fn message(&self) -> MessageWriter {
        let of_value = if self.metadata { VALUE_BYTES + METADATA_BYTES } else { VALUE_BYTES };
        MessageWriter::with_capacity((self.plan().features.len() + 2) * (self.asked.keys.len() + 2) * of_value)
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

    /// What the values of rows are.
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
                    instant(message, about::EVENT_TIME, ms);
                }
                job_and_reason(message, about::JOB_ID, about::REASON, view, value);
            });
        }
    }
}

/// What only some values have: the batch job that wrote it, and why it could not be had.
fn job_and_reason(message: &mut MessageWriter, job_id: u32, reason: u32, view: &View, value: &FeatureValue) {
    if let Some(run) = value.run {
        message.text(job_id, &view.job_id(run));
    }
    if let Some(text) = &value.reason {
        message.text(reason, text);
    }
}

/// A key as readers know it: an integer in decimal, a text as itself, a composite as its canonical text.
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
