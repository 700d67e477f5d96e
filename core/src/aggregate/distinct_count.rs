//! `distinct_count`: how many different values, exact up to a limit. Past it the answer is an error, never a guess.

use rustc_hash::FxHashSet;
use serde_json::Value as Json;
use xxhash_rust::xxh3::xxh3_128;

use super::fold::Fold;
use super::options::typed;
use super::{At, FinishError, InvalidAggregate, Options, SqlInput, Stamp, WrongKind, sql};
use crate::bytes::{DecodeError, NUMBER_BYTES, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// Distinct values are counted exactly up to this many.
pub const MAX_DISTINCT: usize = 65_536;

const INTS: u8 = 8;
const HASHES: u8 = 9;
const TOO_MANY: u8 = 10;

const HASH_BYTES: u64 = 16;
/// The capacity that a set gets at its first fold, so that it does not grow tile by tile.
const FIRST_CAPACITY: usize = 56;

/// A declared `distinct_count`.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctCount {
    input: ValueType,
}

/// A set of different values. Integers are kept as they are, others as 128-bit hashes.
#[derive(Clone, Debug, PartialEq)]
pub enum Distinct {
    /// Of `int64` and `timestamp`.
    Ints(FxHashSet<i64>),
    /// Of all other types.
    Hashes(FxHashSet<u128>),
    /// More than [`MAX_DISTINCT`] values.
    TooMany,
}

impl DistinctCount {
    fn keeps_ints(&self) -> bool {
        matches!(self.input, ValueType::Int64 | ValueType::Timestamp)
    }
}

impl Fold for DistinctCount {
    const NAME: &'static str = "distinct_count";
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = &["agg: distinct_count"];
    type State = Distinct;

    fn parse(_: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        let takes = |kind: &ValueType| kind.is_scalar() && *kind != ValueType::Float64;
        Ok(Self { input: typed(Self::NAME, input, takes)? })
    }

    fn output(&self) -> ValueType {
        ValueType::Int64
    }

    fn empty(&self) -> Distinct {
        if self.keeps_ints() { Distinct::Ints(FxHashSet::default()) } else { Distinct::Hashes(FxHashSet::default()) }
    }

    fn absorb(&self, distinct: &mut Distinct, _: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind> {
        match (&mut *distinct, value) {
            (Distinct::Ints(values), Scalar::Int(value)) => {
                values.insert(*value);
            }
            (Distinct::Hashes(values), value) => {
                values.insert(hash(value));
            }
            (Distinct::TooMany, _) => {}
            (Distinct::Ints(_), _) => return Err(WrongKind),
        }
        distinct.bound();
        Ok(())
    }

    fn merge(&self, distinct: &mut Distinct, other: &Distinct) -> Result<(), WrongKind> {
        match (&mut *distinct, other) {
            (Distinct::Ints(values), Distinct::Ints(other)) => values.extend(other),
            (Distinct::Hashes(values), Distinct::Hashes(other)) => values.extend(other),
            (Distinct::TooMany, _) | (_, Distinct::TooMany) => *distinct = Distinct::TooMany,
            (Distinct::Ints(_), Distinct::Hashes(_)) | (Distinct::Hashes(_), Distinct::Ints(_)) => {
                return Err(WrongKind);
            }
        }
        distinct.bound();
        Ok(())
    }

    fn finish(&self, distinct: &Distinct, _: At) -> Result<Option<Json>, FinishError> {
        match distinct {
            Distinct::Ints(values) => Ok(Some(Json::from(values.len()))),
            Distinct::Hashes(values) => Ok(Some(Json::from(values.len()))),
            Distinct::TooMany => Err(FinishError::TooManyDistinct),
        }
    }

    fn write(distinct: &Distinct, writer: &mut Writer) {
        match distinct {
            Distinct::Ints(values) => {
                writer.byte(INTS);
                write_ints(values, writer);
            }
            Distinct::Hashes(values) => {
                writer.byte(HASHES);
                let mut sorted: Vec<u128> = values.iter().copied().collect();
                sorted.sort_unstable();
                writer.length(sorted.len());
                sorted.iter().for_each(|hash| writer.fixed(&hash.to_le_bytes()));
            }
            Distinct::TooMany => writer.byte(TOO_MANY),
        }
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Distinct, DecodeError> {
        Ok(match (reader.byte()?, self.keeps_ints()) {
            (INTS, true) => {
                let length = reader.length()?;
                let mut values = FxHashSet::default();
                values.reserve(length);
                read_ints(reader, length, |value| {
                    values.insert(value);
                })?;
                Distinct::Ints(values)
            }
            (HASHES, false) => {
                let length = reader.length()?;
                let hashes = (0..length).map(|_| reader.fixed().map(u128::from_le_bytes));
                Distinct::Hashes(hashes.collect::<Result<_, _>>()?)
            }
            (TOO_MANY, _) => Distinct::TooMany,
            _ => return Err(DecodeError::WrongShape),
        })
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match reader.byte()? {
            INTS => {
                let length = reader.length()?;
                reader.skip_numbers(length)
            }
            HASHES => {
                let length = reader.length()?;
                reader.skip(length.saturating_mul(HASH_BYTES as usize))
            }
            TOO_MANY => Ok(()),
            _ => Err(DecodeError::WrongShape),
        }
    }

    /// Integers go straight into the set: no set is made of the bytes first.
    fn fold(&self, reader: &mut Reader<'_>, into: &mut Distinct) -> Result<(), DecodeError> {
        if reader.peek() != Some(INTS) {
            let distinct = self.read(reader)?;
            return Ok(self.take(into, distinct)?);
        }
        reader.byte()?;
        let length = reader.length()?;
        match into {
            Distinct::Ints(values) => {
                if values.capacity() == 0 && length > 0 {
                    values.reserve(length.max(FIRST_CAPACITY));
                }
                read_ints(reader, length, |value| {
                    values.insert(value);
                })?;
                into.bound();
                Ok(())
            }
            Distinct::TooMany if self.keeps_ints() => reader.skip_numbers(length),
            Distinct::TooMany | Distinct::Hashes(_) => Err(DecodeError::WrongShape),
        }
    }

    fn max_bytes(&self) -> u64 {
        let set = match self.input {
            ValueType::Int64 | ValueType::Timestamp => MAX_DISTINCT as u64 * NUMBER_BYTES,
            ValueType::Bool => 2 * HASH_BYTES,
            ValueType::Float64
            | ValueType::Decimal(_)
            | ValueType::String
            | ValueType::List(_)
            | ValueType::Map(_)
            | ValueType::Vector(_)
            | ValueType::Any => MAX_DISTINCT as u64 * HASH_BYTES,
        };
        1 + NUMBER_BYTES + set
    }

    fn sql(&self, SqlInput { value, counts }: &SqlInput<'_>) -> String {
        format!("toString(uniqExactIf({value}, {counts}))")
    }

    /// SQL hands back how many there are, not which: no state can be made of that.
    fn read_sql(&self, _: &str) -> Option<Distinct> {
        None
    }

    fn finish_sql(&self, text: Option<&str>, _: At) -> Result<Option<Json>, FinishError> {
        match text.and_then(|text| text.parse::<usize>().ok()) {
            Some(count) if count <= MAX_DISTINCT => Ok(Some(Json::from(count))),
            Some(_) => Err(FinishError::TooManyDistinct),
            None => Err(sql::unreadable(text)),
        }
    }
}

impl Distinct {
    /// Forgets the values once they are too many to be exact.
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

/// Sorted, each as the step from the one before.
fn write_ints(values: &FxHashSet<i64>, writer: &mut Writer) {
    let mut sorted: Vec<i64> = values.iter().copied().collect();
    sorted.sort_unstable();
    writer.length(sorted.len());
    let mut last = 0i128;
    for value in sorted {
        writer.signed(i128::from(value) - last);
        last = i128::from(value);
    }
}

fn read_ints(reader: &mut Reader<'_>, length: usize, mut take: impl FnMut(i64)) -> Result<(), DecodeError> {
    let mut last = 0i128;
    for _ in 0..length {
        last = last.saturating_add(reader.signed()?);
        take(i64::try_from(last).map_err(|_| reader.invalid("64-bit number"))?);
    }
    Ok(())
}

fn hash(value: &Scalar<'_>) -> u128 {
    match value {
        Scalar::Int(value) => xxh3_128(&value.to_le_bytes()),
        Scalar::Float(value) => xxh3_128(&value.to_le_bytes()),
        Scalar::Decimal(units) => xxh3_128(&units.to_le_bytes()),
        Scalar::Bool(value) => u128::from(*value),
        Scalar::Text(text) | Scalar::Json(text) => xxh3_128(text.as_bytes()),
    }
}
