//! Aggregate states as bytes: a tag, then what the aggregate holds.

use std::borrow::Cow;

use super::DecodeError;
use super::read::Reader;
use super::write::Writer;
use crate::aggregate::{Distinct, Stamped, State};
use crate::definitions::Aggregation;
use crate::partition::Partition;
use crate::position::Position;
use crate::scalar::Scalar;
use crate::slot::Tile;

const COUNT: u8 = 0;
const SUM: u8 = 1;
const FLOAT_SUM: u8 = 2;
const MEAN: u8 = 3;
const FLOAT_MEAN: u8 = 4;
const EXTREME: u8 = 5;
const EDGE: u8 = 6;
const LATEST: u8 = 7;
const DISTINCT_INTS: u8 = 8;
const DISTINCT_HASHES: u8 = 9;
const DISTINCT_TOO_MANY: u8 = 10;

pub(super) fn write_tile(writer: &mut Writer, tile: &Tile) {
    writer.length(tile.len());
    for state in tile {
        write_state(writer, state);
    }
}

pub(super) fn read_tile(reader: &mut Reader<'_>) -> Result<Tile, DecodeError> {
    let length = reader.length()?;
    (0..length).map(|_| read_state(reader)).collect()
}

fn write_state(writer: &mut Writer, state: &State) {
    match state {
        State::Count(count) => {
            writer.byte(COUNT);
            writer.unsigned(u128::from(*count));
        }
        State::Sum(sum) => {
            writer.byte(SUM);
            writer.signed(*sum);
        }
        State::FloatSum(sum) => {
            writer.byte(FLOAT_SUM);
            writer.fixed(&sum.to_le_bytes());
        }
        State::Mean(sum, count) => {
            writer.byte(MEAN);
            writer.signed(*sum);
            writer.unsigned(u128::from(*count));
        }
        State::FloatMean(sum, count) => {
            writer.byte(FLOAT_MEAN);
            writer.fixed(&sum.to_le_bytes());
            writer.unsigned(u128::from(*count));
        }
        State::Extreme(extreme) => {
            writer.byte(EXTREME);
            writer.length(usize::from(extreme.is_some()));
            extreme.iter().for_each(|value| write_scalar(writer, value));
        }
        State::Edge(edge) => {
            writer.byte(EDGE);
            writer.length(usize::from(edge.is_some()));
            edge.iter().for_each(|stamped| write_stamped(writer, stamped));
        }
        State::Latest(latest) => {
            writer.byte(LATEST);
            writer.length(latest.len());
            latest.iter().for_each(|stamped| write_stamped(writer, stamped));
        }
        State::Distinct(Distinct::Ints(values)) => {
            writer.byte(DISTINCT_INTS);
            let mut sorted: Vec<i64> = values.iter().copied().collect();
            sorted.sort_unstable();
            writer.length(sorted.len());
            let mut last = 0i128;
            for value in sorted {
                writer.signed(i128::from(value) - last);
                last = i128::from(value);
            }
        }
        State::Distinct(Distinct::Hashes(values)) => {
            writer.byte(DISTINCT_HASHES);
            let mut sorted: Vec<u128> = values.iter().copied().collect();
            sorted.sort_unstable();
            writer.length(sorted.len());
            sorted.iter().for_each(|hash| writer.fixed(&hash.to_le_bytes()));
        }
        State::Distinct(Distinct::TooMany) => writer.byte(DISTINCT_TOO_MANY),
    }
}

fn read_state(reader: &mut Reader<'_>) -> Result<State, DecodeError> {
    Ok(match reader.byte()? {
        COUNT => State::Count(reader.unsigned64()?),
        SUM => State::Sum(reader.signed()?),
        FLOAT_SUM => State::FloatSum(f64::from_le_bytes(reader.fixed()?)),
        MEAN => State::Mean(reader.signed()?, reader.unsigned64()?),
        FLOAT_MEAN => State::FloatMean(f64::from_le_bytes(reader.fixed()?), reader.unsigned64()?),
        EXTREME => State::Extreme(if reader.length()? == 0 { None } else { Some(read_scalar(reader)?) }),
        EDGE => State::Edge(if reader.length()? == 0 { None } else { Some(Box::new(read_stamped(reader)?)) }),
        LATEST => {
            let length = reader.length()?;
            State::Latest((0..length).map(|_| read_stamped(reader)).collect::<Result<_, _>>()?)
        }
        DISTINCT_INTS => {
            let length = reader.length()?;
            let mut values = rustc_hash::FxHashSet::default();
            values.reserve(length);
            read_ints(reader, length, |value| {
                values.insert(value);
            })?;
            State::Distinct(Distinct::Ints(values))
        }
        DISTINCT_HASHES => {
            let length = reader.length()?;
            let hashes = (0..length).map(|_| reader.fixed().map(u128::from_le_bytes));
            State::Distinct(Distinct::Hashes(hashes.collect::<Result<_, _>>()?))
        }
        DISTINCT_TOO_MANY => State::Distinct(Distinct::TooMany),
        _ => return Err(reader.invalid("aggregate")),
    })
}

/// Merges the state that stands here into another of the same aggregate. Sets of values go straight into the other.
pub(super) fn fold_state(
    reader: &mut Reader<'_>,
    aggregation: Aggregation,
    into: &mut State,
) -> Result<(), DecodeError> {
    match (reader.peek(), into) {
        (Some(DISTINCT_INTS), State::Distinct(distinct)) => {
            reader.byte()?;
            let length = reader.length()?;
            distinct.make_room(length);
            read_ints(reader, length, |value| distinct.insert_int(value))
        }
        (_, into) => {
            into.take(aggregation, read_state(reader)?);
            Ok(())
        }
    }
}

/// Steps over the state that stands here.
pub(super) fn skip_state(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.byte()? {
        COUNT | SUM => reader.skip_numbers(1),
        FLOAT_SUM => reader.skip(8),
        MEAN => reader.skip_numbers(2),
        FLOAT_MEAN => {
            reader.skip(8)?;
            reader.skip_numbers(1)
        }
        EXTREME if reader.length()? == 0 => Ok(()),
        EXTREME => skip_scalar(reader),
        EDGE if reader.length()? == 0 => Ok(()),
        EDGE => skip_stamped(reader),
        LATEST => (0..reader.length()?).try_for_each(|_| skip_stamped(reader)),
        DISTINCT_INTS => {
            let length = reader.length()?;
            reader.skip_numbers(length)
        }
        DISTINCT_HASHES => {
            let length = reader.length()?;
            reader.skip(length.saturating_mul(16))
        }
        DISTINCT_TOO_MANY => Ok(()),
        _ => Err(reader.invalid("aggregate")),
    }
}

fn write_stamped(writer: &mut Writer, stamped: &Stamped) {
    writer.signed(i128::from(stamped.feature_time));
    writer.text(&stamped.event_id);
    writer.unsigned(u128::from(stamped.position.ms));
    writer.unsigned(u128::from(stamped.position.seq));
    writer.unsigned(u128::from(stamped.partition.0));
    write_scalar(writer, &stamped.value);
}

fn read_stamped(reader: &mut Reader<'_>) -> Result<Stamped, DecodeError> {
    Ok(Stamped {
        feature_time: reader.signed64()?,
        event_id: reader.text()?.into(),
        position: Position { ms: reader.unsigned64()?, seq: reader.unsigned64()? },
        partition: Partition(reader.unsigned64()?.try_into().map_err(|_| reader.invalid("partition"))?),
        value: read_scalar(reader)?,
    })
}

fn skip_stamped(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    reader.skip_numbers(1)?;
    reader.skip_text()?;
    reader.skip_numbers(3)?;
    skip_scalar(reader)
}

/// A set of integers: sorted, each as the step from the one before.
fn read_ints(reader: &mut Reader<'_>, length: usize, mut take: impl FnMut(i64)) -> Result<(), DecodeError> {
    let mut last = 0i128;
    for _ in 0..length {
        last = last.saturating_add(reader.signed()?);
        take(i64::try_from(last).map_err(|_| reader.invalid("64-bit number"))?);
    }
    Ok(())
}

fn write_scalar(writer: &mut Writer, scalar: &Scalar<'_>) {
    match scalar {
        Scalar::Int(value) => {
            writer.byte(0);
            writer.signed(i128::from(*value));
        }
        Scalar::Float(value) => {
            writer.byte(1);
            writer.fixed(&value.to_le_bytes());
        }
        Scalar::Decimal(units) => {
            writer.byte(2);
            writer.signed(*units);
        }
        Scalar::Bool(value) => writer.fixed(&[3, u8::from(*value)]),
        Scalar::Text(text) => {
            writer.byte(4);
            writer.text(text);
        }
        Scalar::Json(text) => {
            writer.byte(5);
            writer.text(text);
        }
    }
}

fn read_scalar(reader: &mut Reader<'_>) -> Result<Scalar<'static>, DecodeError> {
    Ok(match reader.byte()? {
        0 => Scalar::Int(reader.signed64()?),
        1 => Scalar::Float(f64::from_le_bytes(reader.fixed()?)),
        2 => Scalar::Decimal(reader.signed()?),
        3 => Scalar::Bool(reader.byte()? != 0),
        4 => Scalar::Text(Cow::Owned(reader.text()?.to_owned())),
        5 => Scalar::Json(Cow::Owned(reader.text()?.to_owned())),
        _ => return Err(reader.invalid("value")),
    })
}

fn skip_scalar(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.byte()? {
        0 | 2 => reader.skip_numbers(1),
        1 => reader.skip(8),
        3 => reader.skip(1),
        4 | 5 => reader.skip_text(),
        _ => Err(reader.invalid("value")),
    }
}
