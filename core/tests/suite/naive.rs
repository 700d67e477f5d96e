//! The obvious twin of the algebra: it recomputes a feature from the list of a key's entries. The laws of this crate and
//! the parity tests of `millrace-common` compare the engines with it. It knows neither tiles nor merges nor SQL.
#![allow(dead_code, reason = "each test binary uses its own part")]

use millrace_core::aggregate::{Aggregate, Stamp};
use millrace_core::definitions::{Feature, ValueType, View, Window};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::window::{Cut, Span};
use serde_json::{Value, json};

/// How far two sums of floats may be apart, as a part of the sum of the magnitudes that were added.
const FLOAT_TOLERANCE: f64 = 1e-9;

/// How far the variance of exact numbers may be from the exact one, as a part of it.
const VARIANCE_TOLERANCE: f64 = 1e-12;

/// One entry of one key, as a view reads it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Feature time, epoch ms.
    pub time: i64,
    pub event_id: String,
    pub position: Position,
    pub partition: Partition,
    /// In the order of the view's inputs.
    pub inputs: Vec<Option<Scalar<'static>>>,
}

/// The value that the definition demands.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// This one.
    Exactly(Value),
    /// A float this close.
    Near { value: f64, tolerance: f64 },
}

impl Entry {
    pub fn stamp(&self) -> Stamp<'_> {
        Stamp { feature_time: self.time, event_id: &self.event_id, position: self.position, partition: self.partition }
    }
}

impl Expected {
    /// Whether an engine's answer is this value.
    pub fn is_met_by(&self, answer: &Value) -> bool {
        match self {
            Self::Exactly(value) => value == answer,
            Self::Near { value, tolerance } => {
                answer.as_f64().is_some_and(|answer| (answer - value).abs() <= *tolerance)
            }
        }
    }

    /// Whether there is nothing to show.
    pub fn is_null(&self) -> bool {
        *self == Self::Exactly(Value::Null)
    }
}

/// The value of a feature at `t`. `entries` are those of one key, in log order.
pub fn value(view: &View, feature: &Feature, entries: &[Entry], t: i64) -> Expected {
    let counting = counting(view.windows[feature.window].window, entries, t);
    let Some(input) = feature.input else { return Expected::Exactly(json!(counting.len())) };
    let kind = &view.inputs[input].1;
    let values: Vec<Scalar<'static>> = counting.into_iter().filter_map(|entry| entry.inputs[input].clone()).collect();
    let float = *kind == ValueType::Float64;
    let json = |scalar: &Scalar<'_>| scalar.to_json(kind);
    Expected::Exactly(match &feature.aggregate {
        Aggregate::Count(_) => json!(values.len()),
        Aggregate::Sum(_) if float => return near(&values, 1),
        Aggregate::Sum(_) => Scalar::Decimal(values.iter().map(units).sum()).to_json(kind),
        Aggregate::Mean(_) if values.is_empty() => Value::Null,
        Aggregate::Mean(_) if float => return near(&values, values.len()),
        Aggregate::Mean(_) => json!(to_float(values.iter().map(units).sum(), kind) / values.len() as f64),
        Aggregate::Min(_) => values.iter().min_by(|a, b| a.order(b)).map_or(Value::Null, json),
        Aggregate::Max(_) => values.iter().max_by(|a, b| a.order(b)).map_or(Value::Null, json),
        Aggregate::First(_) => values.first().map_or(Value::Null, json),
        Aggregate::Last(_) => values.last().map_or(Value::Null, json),
        Aggregate::LastN(_) if values.is_empty() => Value::Null,
        Aggregate::LastN(_) => {
            let n = feature.aggregate.options().into_iter().find(|(name, _)| *name == "n").unwrap().1;
            values.iter().rev().take(n.as_u64().unwrap() as usize).map(json).collect()
        }
        Aggregate::DistinctCount(_) => {
            let mut distinct: Vec<Value> = values.iter().map(json).collect();
            distinct.sort_by_key(Value::to_string);
            distinct.dedup();
            json!(distinct.len())
        }
        Aggregate::VarPop(_) => return relative(variance(&values, kind, 0)),
        Aggregate::VarSamp(_) => return relative(variance(&values, kind, 1)),
        Aggregate::StddevPop(_) => return relative(variance(&values, kind, 0).map(f64::sqrt)),
        Aggregate::StddevSamp(_) => return relative(variance(&values, kind, 1).map(f64::sqrt)),
    })
}

/// Whether the value of a feature is the same bit for bit, whatever the order of its entries.
pub fn is_exact(view: &View, feature: &Feature) -> bool {
    let float = feature.input.is_some_and(|input| view.inputs[input].1 == ValueType::Float64);
    match &feature.aggregate {
        Aggregate::Sum(_) | Aggregate::Mean(_) => !float,
        Aggregate::Count(_)
        | Aggregate::Min(_)
        | Aggregate::Max(_)
        | Aggregate::First(_)
        | Aggregate::Last(_)
        | Aggregate::LastN(_)
        | Aggregate::DistinctCount(_)
        | Aggregate::VarPop(_)
        | Aggregate::VarSamp(_)
        | Aggregate::StddevPop(_)
        | Aggregate::StddevSamp(_) => true,
    }
}

/// The entries that a window holds at `t`, by their stamps.
pub fn counting(window: Window, entries: &[Entry], t: i64) -> Vec<&Entry> {
    let mut chosen: Vec<&Entry> = match window {
        Window::Lifetime => entries.iter().collect(),
        Window::Tiled { cut: Cut::Every(hop), span } => {
            let back = match span {
                Span::Tile => 0,
                Span::Sliding(ms) => ms,
            };
            let from = (t - back).div_euclid(hop) * hop;
            entries.iter().filter(|entry| entry.time >= from && entry.time <= t).collect()
        }
        Window::Session { gap, lateness } => session(entries, gap, lateness, t),
    };
    chosen.sort_by(|a, b| a.stamp().cmp(&b.stamp()));
    chosen
}

/// The last chain of entries in time, unless it ended more than `gap` before `t`.
fn session(entries: &[Entry], gap: i64, lateness: i64, t: i64) -> Vec<&Entry> {
    let mut newest = i64::MIN;
    let mut in_time: Vec<&Entry> = Vec::new();
    for entry in entries {
        if newest == i64::MIN || entry.time >= newest - lateness {
            in_time.push(entry);
        }
        newest = newest.max(entry.time);
    }
    in_time.sort_by_key(|entry| entry.time);
    let mut last: Vec<&Entry> = Vec::new();
    for entry in in_time {
        if last.last().is_some_and(|before| entry.time - before.time > gap) {
            last.clear();
        }
        last.push(entry);
    }
    if last.last().is_none_or(|end| t - end.time > gap) { Vec::new() } else { last }
}

/// A sum of floats over a divisor. The tolerance follows from the magnitudes of these values and no others.
fn near(values: &[Scalar<'_>], divisor: usize) -> Expected {
    let float = |scalar: &Scalar<'_>| match scalar {
        Scalar::Float(value) => *value,
        other => panic!("expected a float, got {other:?}"),
    };
    let (sum, magnitudes) =
        values.iter().map(float).fold((0.0, 0.0), |(sum, all), value| (sum + value, all + value.abs()));
    let divisor = divisor as f64;
    Expected::Near { value: sum / divisor, tolerance: FLOAT_TOLERANCE * magnitudes / divisor }
}

/// A value close to this one, or null.
fn relative(value: Option<f64>) -> Expected {
    value
        .map_or(Expected::Exactly(Value::Null), |value| Expected::Near { value, tolerance: VARIANCE_TOLERANCE * value })
}

/// The squared distances of all pairs over `n (n − less)`. None of these terms is negative, so no digits are lost.
fn variance(values: &[Scalar<'_>], kind: &ValueType, less: usize) -> Option<f64> {
    let divisor = values.len() * values.len().checked_sub(less)?;
    let later = |index: usize| values[index + 1..].iter();
    let pairs = values.iter().enumerate().flat_map(|(index, one)| later(index).map(move |other| (one, other)));
    let distances: f64 = pairs.map(|(one, other)| to_float(units(one) - units(other), kind).powi(2)).sum();
    (divisor > 0).then(|| distances / divisor as f64)
}

fn units(scalar: &Scalar<'_>) -> i128 {
    match scalar {
        Scalar::Int(value) => i128::from(*value),
        Scalar::Decimal(units) => *units,
        other => panic!("expected an exact number, got {other:?}"),
    }
}

fn to_float(units: i128, kind: &ValueType) -> f64 {
    match kind {
        ValueType::Decimal(shape) => shape.to_f64(units),
        _ => units as f64,
    }
}
