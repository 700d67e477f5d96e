//! `first`: the first value by (feature time, event id, position, partition).

use std::cmp::Ordering::Less;

use serde_json::Value as Json;

use super::edge::Edge;
use super::fold::Fold;
use super::options::typed;
use super::{At, FinishError, InvalidAggregate, Options, STAMP_COLUMNS, SqlInput, Stamp, WrongKind};
use crate::bytes::{DecodeError, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// A declared `first`.
#[derive(Clone, Debug, PartialEq)]
pub struct First {
    input: ValueType,
}

impl Fold for First {
    const NAME: &'static str = "first";
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = &["agg: first"];
    type State = Edge;

    fn parse(_: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        Ok(Self { input: typed(Self::NAME, input, |_| true)? })
    }

    fn output(&self) -> ValueType {
        self.input.clone()
    }

    fn empty(&self) -> Edge {
        Edge::default()
    }

    fn absorb(&self, edge: &mut Edge, stamp: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind> {
        edge.absorb(Less, stamp, value);
        Ok(())
    }

    fn merge(&self, edge: &mut Edge, other: &Edge) -> Result<(), WrongKind> {
        edge.merge(Less, other);
        Ok(())
    }

    fn take(&self, edge: &mut Edge, other: Edge) -> Result<(), WrongKind> {
        edge.take(Less, other);
        Ok(())
    }

    fn finish(&self, edge: &Edge, _: At) -> Result<Option<Json>, FinishError> {
        Ok(edge.finish(&self.input))
    }

    fn write(edge: &Edge, writer: &mut Writer) {
        edge.write(writer);
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Edge, DecodeError> {
        Edge::read(reader)
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        Edge::skip(reader)
    }

    fn max_bytes(&self) -> u64 {
        Edge::max_bytes(&self.input)
    }

    fn sql(&self, SqlInput { value, counts }: &SqlInput<'_>) -> String {
        format!("toString(argMinOrNullIf({value}, ({STAMP_COLUMNS}), {counts}))")
    }

    fn read_sql(&self, text: &str) -> Option<Edge> {
        Edge::from_sql(&self.input, text)
    }
}
