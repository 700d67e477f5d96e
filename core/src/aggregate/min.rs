//! `min`: the least value.

use std::cmp::Ordering::Less;

use serde_json::Value as Json;

use super::extreme::{self, Extreme};
use super::fold::Fold;
use super::{At, FinishError, InvalidAggregate, Options, SqlInput, Stamp, WrongKind};
use crate::bytes::{DecodeError, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// A declared `min`.
#[derive(Clone, Debug, PartialEq)]
pub struct Min {
    input: ValueType,
}

impl Fold for Min {
    const NAME: &'static str = "min";
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = &["agg: min"];
    type State = Extreme;

    fn parse(_: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        Ok(Self { input: extreme::input(Self::NAME, input)? })
    }

    fn output(&self) -> ValueType {
        self.input.clone()
    }

    fn empty(&self) -> Extreme {
        Extreme::default()
    }

    fn absorb(&self, extreme: &mut Extreme, _: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind> {
        extreme.absorb(Less, value);
        Ok(())
    }

    fn merge(&self, extreme: &mut Extreme, other: &Extreme) -> Result<(), WrongKind> {
        extreme.merge(Less, other);
        Ok(())
    }

    fn take(&self, extreme: &mut Extreme, other: Extreme) -> Result<(), WrongKind> {
        extreme.take(Less, other);
        Ok(())
    }

    fn finish(&self, extreme: &Extreme, _: At) -> Result<Option<Json>, FinishError> {
        Ok(extreme.finish(&self.input))
    }

    fn write(extreme: &Extreme, writer: &mut Writer) {
        extreme.write(writer);
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Extreme, DecodeError> {
        Extreme::read(reader)
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        Extreme::skip(reader)
    }

    fn max_bytes(&self) -> u64 {
        Extreme::max_bytes(&self.input)
    }

    fn sql(&self, SqlInput { value, counts }: &SqlInput<'_>) -> String {
        format!("toString(minOrNullIf({value}, {counts}))")
    }

    fn read_sql(&self, text: &str) -> Option<Extreme> {
        Extreme::from_sql(&self.input, text)
    }
}
