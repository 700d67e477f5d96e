//! The aggregates: `identity, absorb, merge, finish`. Merge is associative and commutative; where order matters the
//! state carries (feature time, event id, position, partition), so that any split and any order give one answer.

use std::cmp::Ordering;

use rustc_hash::FxHashSet;
use serde_json::Value as Json;

use crate::definitions::{Aggregation, ValueType};
use crate::partition::Partition;
use crate::position::Position;
use crate::scalar::{Scalar, int_json};

/// Distinct values are counted exactly up to this many; beyond, the answer is an error, never a guess.
pub const MAX_DISTINCT: usize = 65_536;

/// The first room of a set that is put together at read.
const ROOM: usize = 56;

/// Where an entry stands among all others: the order of `first`, `last` and `last_n`, and its ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp<'a> {
    /// When the entry counts, epoch ms.
    pub feature_time: i64,
    /// Its event id, compared by bytes.
    pub event_id: &'a str,
    /// Its position.
    pub position: Position,
    /// Its partition, because positions of two partitions can be equal.
    pub partition: Partition,
}

/// A value and the entry it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    /// When the entry counts, epoch ms.
    pub feature_time: i64,
    /// Its event id.
    pub event_id: Box<str>,
    /// Its position.
    pub position: Position,
    /// Its partition.
    pub partition: Partition,
    /// The value.
    pub value: Scalar<'static>,
}

/// The state of one aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// How many.
    Count(u64),
    /// Sum of integers or of decimal units.
    Sum(i128),
    /// Sum of floats.
    FloatSum(f64),
    /// Sum of integers or decimal units, and how many.
    Mean(i128, u64),
    /// Sum of floats, and how many.
    FloatMean(f64, u64),
    /// The least or the greatest.
    Extreme(Option<Scalar<'static>>),
    /// The first or the last.
    Edge(Option<Box<Stamped>>),
    /// The last so many, newest first.
    Latest(Vec<Stamped>),
    /// The different values.
    Distinct(Distinct),
}

/// A set of different values. Integers are kept as they are, others as 128-bit hashes.
#[derive(Clone, Debug, PartialEq)]
pub enum Distinct {
    /// `int64` and `timestamp`.
    Ints(FxHashSet<i64>),
    /// Everything else.
    Hashes(FxHashSet<u128>),
    /// More than [`MAX_DISTINCT`].
    TooMany,
}

/// Why a state has no value to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// Past the exact range.
    #[error("more than {MAX_DISTINCT} distinct values")]
    TooManyDistinct,
}

impl Stamped {
    fn stamp(&self) -> Stamp<'_> {
        Stamp {
            feature_time: self.feature_time,
            event_id: &self.event_id,
            position: self.position,
            partition: self.partition,
        }
    }

    fn new(stamp: Stamp<'_>, value: &Scalar<'_>) -> Self {
        Self {
            feature_time: stamp.feature_time,
            event_id: stamp.event_id.into(),
            position: stamp.position,
            partition: stamp.partition,
            value: value.clone().into_owned(),
        }
    }
}

impl State {
    /// The state that has absorbed nothing. `input` is the type of the input, if there is one.
    pub fn identity(aggregation: Aggregation, input: Option<&ValueType>) -> Self {
        let float = input == Some(&ValueType::Float64);
        match aggregation {
            Aggregation::Count => Self::Count(0),
            Aggregation::Sum if float => Self::FloatSum(0.0),
            Aggregation::Sum => Self::Sum(0),
            Aggregation::Mean if float => Self::FloatMean(0.0, 0),
            Aggregation::Mean => Self::Mean(0, 0),
            Aggregation::Min | Aggregation::Max => Self::Extreme(None),
            Aggregation::First | Aggregation::Last => Self::Edge(None),
            Aggregation::LastN(_) => Self::Latest(Vec::new()),
            Aggregation::DistinctCount => Self::Distinct(match input {
                Some(ValueType::Int64 | ValueType::Timestamp) => Distinct::Ints(FxHashSet::default()),
                _ => Distinct::Hashes(FxHashSet::default()),
            }),
        }
    }

    /// Takes one value in. The caller leaves out nulls; a `count` of entries gets any value.
    pub fn absorb(&mut self, aggregation: Aggregation, stamp: Stamp<'_>, value: &Scalar<'_>) {
        match self {
            Self::Count(count) => *count += 1,
            Self::Sum(sum) => *sum = sum.saturating_add(units(value)),
            Self::FloatSum(sum) => *sum += float(value),
            Self::Mean(sum, count) => {
                *sum = sum.saturating_add(units(value));
                *count += 1;
            }
            Self::FloatMean(sum, count) => {
                *sum += float(value);
                *count += 1;
            }
            Self::Extreme(extreme) => {
                let better = extreme.as_ref().is_none_or(|held| value.order(held) == wanted(aggregation));
                if better {
                    *extreme = Some(value.clone().into_owned());
                }
            }
            Self::Edge(edge) => {
                let better = edge.as_ref().is_none_or(|held| stamp.cmp(&held.stamp()) == wanted(aggregation));
                if better {
                    *edge = Some(Box::new(Stamped::new(stamp, value)));
                }
            }
            Self::Latest(latest) => {
                let room = limit(aggregation);
                let at = latest.partition_point(|held| held.stamp() > stamp);
                if at < room {
                    latest.insert(at, Stamped::new(stamp, value));
                    latest.truncate(room);
                }
            }
            Self::Distinct(distinct) => distinct.insert(value),
        }
    }

    /// Joins what another state of the same aggregate has absorbed.
    pub fn merge(&mut self, aggregation: Aggregation, other: &Self) {
        match (self, other) {
            (Self::Count(a), Self::Count(b)) => *a += b,
            (Self::Sum(a), Self::Sum(b)) => *a = a.saturating_add(*b),
            (Self::FloatSum(a), Self::FloatSum(b)) => *a += b,
            (Self::Mean(a, n), Self::Mean(b, m)) => {
                *a = a.saturating_add(*b);
                *n += m;
            }
            (Self::FloatMean(a, n), Self::FloatMean(b, m)) => {
                *a += b;
                *n += m;
            }
            (Self::Extreme(a), Self::Extreme(Some(b)))
                if a.as_ref().is_none_or(|held| b.order(held) == wanted(aggregation)) =>
            {
                *a = Some(b.clone());
            }
            (Self::Edge(a), Self::Edge(Some(b)))
                if a.as_ref().is_none_or(|held| b.stamp().cmp(&held.stamp()) == wanted(aggregation)) =>
            {
                *a = Some(b.clone());
            }
            (Self::Latest(a), Self::Latest(b)) => {
                a.extend(b.iter().cloned());
                order_latest(a, aggregation);
            }
            (Self::Distinct(a), Self::Distinct(b)) => a.merge(b),
            // Extremes and edges that change nothing; states of two kinds never meet, one definition made both.
            _ => {}
        }
    }

    /// [`merge`](Self::merge) of a state that nobody else needs: into an empty one it moves.
    pub(crate) fn take(&mut self, aggregation: Aggregation, other: Self) {
        match (self, other) {
            (Self::Extreme(held @ None), Self::Extreme(value)) => *held = value,
            (Self::Edge(held @ None), Self::Edge(value)) => *held = value,
            (Self::Latest(held), Self::Latest(values)) if held.is_empty() => {
                *held = values;
                order_latest(held, aggregation);
            }
            (this, other) => this.merge(aggregation, &other),
        }
    }

    /// The value that readers see; none where there is nothing to show.
    pub fn finish(&self, value_type: &ValueType, input: Option<&ValueType>) -> Result<Option<Json>, FinishError> {
        Ok(match self {
            Self::Count(count) => Some(int_json(i128::from(*count))),
            Self::Sum(sum) => Some(Scalar::Decimal(*sum).to_json(value_type)),
            Self::FloatSum(sum) => Some(float_json(*sum)),
            Self::Mean(_, 0) | Self::FloatMean(_, 0) => None,
            Self::Mean(sum, count) => Some(float_json(units_to_f64(*sum, input) / count_to_f64(*count))),
            Self::FloatMean(sum, count) => Some(float_json(sum / count_to_f64(*count))),
            Self::Extreme(extreme) => extreme.as_ref().map(|value| value.to_json(value_type)),
            Self::Edge(edge) => edge.as_ref().map(|stamped| stamped.value.to_json(value_type)),
            Self::Latest(latest) => {
                let item = input.unwrap_or(value_type);
                (!latest.is_empty()).then(|| latest.iter().map(|held| held.value.to_json(item)).collect())
            }
            Self::Distinct(Distinct::TooMany) => return Err(FinishError::TooManyDistinct),
            Self::Distinct(Distinct::Ints(values)) => Some(Json::from(values.len())),
            Self::Distinct(Distinct::Hashes(values)) => Some(Json::from(values.len())),
        })
    }
}

impl Distinct {
    fn insert(&mut self, value: &Scalar<'_>) {
        match (&mut *self, value) {
            (Self::Ints(values), Scalar::Int(value)) => {
                values.insert(*value);
            }
            (Self::Hashes(values), value) => {
                values.insert(hash(value));
            }
            _ => {}
        }
        self.bound();
    }

    /// Takes an integer in.
    #[inline]
    pub(crate) fn insert_int(&mut self, value: i64) {
        if let Self::Ints(values) = self {
            values.insert(value);
            if values.len() > MAX_DISTINCT {
                *self = Self::TooMany;
            }
        }
    }

    /// Makes room for the integers of a first tile, and for some of others, so that a set does not grow tile by tile.
    pub(crate) fn make_room(&mut self, first: usize) {
        if let Self::Ints(values) = self
            && values.capacity() == 0
            && first > 0
        {
            values.reserve(first.max(ROOM));
        }
    }

    fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Ints(a), Self::Ints(b)) => a.extend(b),
            (Self::Hashes(a), Self::Hashes(b)) => a.extend(b),
            (this, Self::TooMany) => *this = Self::TooMany,
            _ => {}
        }
        self.bound();
    }

    fn bound(&mut self) {
        let length = match self {
            Self::Ints(values) => values.len(),
            Self::Hashes(values) => values.len(),
            Self::TooMany => 0,
        };
        if length > MAX_DISTINCT {
            *self = Self::TooMany;
        }
    }
}

fn order_latest(latest: &mut Vec<Stamped>, aggregation: Aggregation) {
    latest.sort_by(|x, y| y.stamp().cmp(&x.stamp()));
    latest.truncate(limit(aggregation));
}

/// A new value replaces the held one iff it compares so.
fn wanted(aggregation: Aggregation) -> Ordering {
    match aggregation {
        Aggregation::Min | Aggregation::First => Ordering::Less,
        _ => Ordering::Greater,
    }
}

fn limit(aggregation: Aggregation) -> usize {
    match aggregation {
        Aggregation::LastN(n) => usize::try_from(n).unwrap_or(usize::MAX),
        _ => 1,
    }
}

fn units(value: &Scalar<'_>) -> i128 {
    match value {
        Scalar::Int(value) => i128::from(*value),
        Scalar::Decimal(units) => *units,
        _ => 0,
    }
}

fn float(value: &Scalar<'_>) -> f64 {
    match value {
        Scalar::Float(value) => *value,
        _ => 0.0,
    }
}

fn hash(value: &Scalar<'_>) -> u128 {
    use xxhash_rust::xxh3::xxh3_128;
    match value {
        Scalar::Int(value) => xxh3_128(&value.to_le_bytes()),
        Scalar::Float(value) => xxh3_128(&value.to_le_bytes()),
        Scalar::Decimal(units) => xxh3_128(&units.to_le_bytes()),
        Scalar::Bool(value) => u128::from(*value),
        Scalar::Text(text) | Scalar::Json(text) => xxh3_128(text.as_bytes()),
    }
}

fn units_to_f64(units: i128, input: Option<&ValueType>) -> f64 {
    match input {
        Some(ValueType::Decimal(shape)) => shape.to_f64(units),
        #[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
        _ => units as f64,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
fn count_to_f64(count: u64) -> f64 {
    count as f64
}

fn float_json(value: f64) -> Json {
    serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number)
}
