//! `mean`: the sum over the count, a float.

use serde_json::Value as Json;

use super::fold::Fold;
use super::number::{Tags, Total, count_to_f64, float_json, sql_total};
use super::options::summable;
use super::{At, FinishError, InvalidAggregate, Options, SqlInput, Stamp, WrongKind};
use crate::bytes::{DecodeError, LONG_NUMBER_BYTES, NUMBER_BYTES, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

const TAGS: Tags = Tags { exact: 3, float: 4 };

/// A declared `mean`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    input: ValueType,
}

/// A total and how many values are in it.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanState {
    total: Total,
    count: u64,
}

impl Fold for Mean {
    const NAME: &'static str = "mean";
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = &["agg: mean"];
    type State = MeanState;

    fn parse(_: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        Ok(Self { input: summable(Self::NAME, input)? })
    }

    fn output(&self) -> ValueType {
        ValueType::Float64
    }

    fn empty(&self) -> MeanState {
        MeanState { total: Total::zero(&self.input), count: 0 }
    }

    fn absorb(&self, state: &mut MeanState, _: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind> {
        state.count += 1;
        state.total.add(value)
    }

    fn merge(&self, state: &mut MeanState, other: &MeanState) -> Result<(), WrongKind> {
        state.count += other.count;
        state.total.join(&other.total)
    }

    fn finish(&self, state: &MeanState, _: At) -> Result<Option<Json>, FinishError> {
        let mean = || float_json(state.total.to_f64(&self.input) / count_to_f64(state.count));
        Ok((state.count > 0).then(mean))
    }

    fn write(state: &MeanState, writer: &mut Writer) {
        state.total.write(TAGS, writer);
        writer.unsigned(u128::from(state.count));
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<MeanState, DecodeError> {
        Ok(MeanState { total: Total::read(TAGS, &self.input, reader)?, count: reader.unsigned64()? })
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        Total::skip(TAGS, reader)?;
        reader.skip_numbers(1)
    }

    fn max_bytes(&self) -> u64 {
        1 + LONG_NUMBER_BYTES + NUMBER_BYTES
    }

    fn sql(&self, input: &SqlInput<'_>) -> String {
        format!("concat(toString({}), '|', toString(countIf({})))", sql_total(&self.input, input), input.counts)
    }

    fn read_sql(&self, text: &str) -> Option<MeanState> {
        let (total, count) = text.split_once('|')?;
        Some(MeanState { total: Total::from_sql(&self.input, total)?, count: count.parse().ok()? })
    }
}
