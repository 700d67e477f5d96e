//! `sum`: exact for integers and decimals.

use serde_json::Value as Json;

use super::fold::Fold;
use super::number::{Tags, Total, float_json, sql_total};
use super::options::summable;
use super::{At, FinishError, InvalidAggregate, Options, SqlInput, Stamp, WrongKind};
use crate::bytes::{DecodeError, LONG_NUMBER_BYTES, NUMBER_BYTES, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

const TAGS: Tags = Tags { exact: 1, float: 2 };

/// A declared `sum`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    input: ValueType,
}

impl Fold for Sum {
    const NAME: &'static str = "sum";
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = &["agg: sum"];
    type State = Total;

    fn parse(_: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        Ok(Self { input: summable(Self::NAME, input)? })
    }

    fn output(&self) -> ValueType {
        self.input.clone()
    }

    fn empty(&self) -> Total {
        Total::zero(&self.input)
    }

    fn absorb(&self, total: &mut Total, _: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind> {
        total.add(value)
    }

    fn merge(&self, total: &mut Total, other: &Total) -> Result<(), WrongKind> {
        total.join(other)
    }

    fn finish(&self, total: &Total, _: At) -> Result<Option<Json>, FinishError> {
        Ok(Some(match total {
            Total::Exact(units) => Scalar::Decimal(*units).to_json(&self.input),
            Total::Float(total) => float_json(*total),
        }))
    }

    fn write(total: &Total, writer: &mut Writer) {
        total.write(TAGS, writer);
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Total, DecodeError> {
        Total::read(TAGS, &self.input, reader)
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        Total::skip(TAGS, reader)
    }

    fn max_bytes(&self) -> u64 {
        1 + LONG_NUMBER_BYTES + NUMBER_BYTES
    }

    fn sql(&self, input: &SqlInput<'_>) -> String {
        format!("toString({})", sql_total(&self.input, input))
    }

    fn read_sql(&self, text: &str) -> Option<Total> {
        Total::from_sql(&self.input, text)
    }
}
