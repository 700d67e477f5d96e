//! `count`: how many entries, or how many values that are not null.

use serde_json::Value as Json;

use super::fold::{Fold, expect_tag};
use super::{At, FinishError, InvalidAggregate, Options, SqlInput, Stamp, WrongKind};
use crate::bytes::{DecodeError, NUMBER_BYTES, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::{Scalar, int_json};

const TAG: u8 = 0;

/// A declared `count`.
#[derive(Clone, Debug, PartialEq)]
pub struct Count;

impl Fold for Count {
    const NAME: &'static str = "count";
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = &["agg: count"];
    type State = u64;

    fn parse(_: &mut Options, _: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        Ok(Self)
    }

    fn output(&self) -> ValueType {
        ValueType::Int64
    }

    fn empty(&self) -> u64 {
        0
    }

    fn absorb(&self, count: &mut u64, _: Stamp<'_>, _: &Scalar<'_>) -> Result<(), WrongKind> {
        *count += 1;
        Ok(())
    }

    fn merge(&self, count: &mut u64, other: &u64) -> Result<(), WrongKind> {
        *count += other;
        Ok(())
    }

    fn finish(&self, count: &u64, _: At) -> Result<Option<Json>, FinishError> {
        Ok(Some(int_json(i128::from(*count))))
    }

    fn write(count: &u64, writer: &mut Writer) {
        writer.byte(TAG);
        writer.unsigned(u128::from(*count));
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
        expect_tag(reader, TAG)?;
        reader.unsigned64()
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        expect_tag(reader, TAG)?;
        reader.skip_numbers(1)
    }

    fn max_bytes(&self) -> u64 {
        1 + NUMBER_BYTES
    }

    fn sql(&self, input: &SqlInput<'_>) -> String {
        format!("toString(countIf({}))", input.counts)
    }

    fn read_sql(&self, text: &str) -> Option<u64> {
        text.parse().ok()
    }
}
