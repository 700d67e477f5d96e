//! Answers as messages of `millrace.v1`. Values are moved, not copied.

use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Entity, ValueType, View};
use millrace_core::key::KeyText;

use super::value::{status, timestamp, typed};
use crate::catalog::store_name;
use crate::proto::millrace_v1::{self as pb, Column, Metadata, Row};
use crate::repository::{Answer, EntityRow, Plan, Request};

/// A key as readers know it: an integer in decimal, a text as itself, a composite as its canonical text.
pub(super) fn key(entity: &Entity, key: &KeyText) -> String {
    match entity.key.as_slice() {
        [_] if key.as_str().contains('%') => key.parts().swap_remove(0),
        _ => key.as_str().to_owned(),
    }
}

/// What the values of rows are.
pub(super) fn columns(plan: &Plan) -> Vec<Column> {
    let column = |(name, (view, _)): (&String, (&View, _))| Column {
        name: name.clone(),
        source: store_name(view.store).to_owned(),
        version: view.version,
    };
    plan.names.iter().zip(declared(plan)).map(column).collect()
}

/// A row for each key.
pub(super) fn rows(asked: &Request, answer: Answer, metadata: bool) -> Vec<Row> {
    let rows = asked.keys.iter().zip(answer.rows);
    rows.map(|(text, row)| one(&asked.plan, key(asked.plan.entity(), text), row, metadata)).collect()
}

fn one(plan: &Plan, key: String, row: EntityRow, metadata: bool) -> Row {
    let about = |(value, (view, _)): (&FeatureValue, (&View, _))| Metadata {
        event_time: value.event_time.map(timestamp),
        job_id: job_id(view, value.run),
        reason: value.reason.clone().unwrap_or_default(),
    };
    Row {
        key,
        status: status(row.status()).into(),
        statuses: row.values.iter().map(|value| status(value.status).into()).collect(),
        metadata: if metadata { row.values.iter().zip(declared(plan)).map(about).collect() } else { Vec::new() },
        values: row.values.into_iter().zip(declared(plan)).map(|(value, (_, kind))| typed(kind, value.value)).collect(),
    }
}

/// The features of one key, each with its name.
pub(super) fn features(plan: &Plan, row: EntityRow, metadata: bool) -> Vec<pb::FeatureValue> {
    let one = |((name, (view, kind)), value): ((&String, (&View, &ValueType)), FeatureValue)| {
        let plain = pb::FeatureValue {
            name: name.clone(),
            value: Some(typed(kind, value.value)),
            status: status(value.status).into(),
            ..Default::default()
        };
        if !metadata {
            return plain;
        }
        pb::FeatureValue {
            event_time: value.event_time.map(timestamp),
            source: store_name(view.store).to_owned(),
            version: view.version,
            job_id: job_id(view, value.run),
            reason: value.reason.unwrap_or_default(),
            ..plain
        }
    };
    plan.names.iter().zip(declared(plan)).zip(row.values).map(one).collect()
}

/// The batch job that wrote a value; empty: none did.
fn job_id(view: &View, run: Option<u32>) -> String {
    run.map(|run| view.job_id(run)).unwrap_or_default()
}

/// The view and the type of each feature of a plan.
fn declared(plan: &Plan) -> impl Iterator<Item = (&View, &ValueType)> {
    let views = &plan.definitions.views;
    plan.features.iter().map(|(view, feature)| (&views[*view], &views[*view].features[*feature].value_type))
}
