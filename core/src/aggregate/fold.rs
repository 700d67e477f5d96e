//! The trait that the file of each aggregate implements. The macro in `mod` makes the dispatch from its table.

use serde_json::Value as Json;

use super::{At, FinishError, InvalidAggregate, Options, SqlInput, Stamp, WrongKind, shown, sql};
use crate::bytes::{DecodeError, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// One aggregate. `Self` is the declared one: its options and the type of its input.
pub trait Fold: Sized {
    /// Its name in definitions.
    const NAME: &'static str;
    /// The first engine that has it.
    const SINCE: u32;
    /// How definitions write it. Tests of all aggregates use these.
    const EXAMPLES: &'static [&'static str];
    /// The part of the entries that `merge` and `finish` need.
    type State;

    /// Takes its own options out of those that were written. `input` is the type of what it reads; None where no `value`
    /// is named, `Any` where the value has no declared type.
    fn parse(options: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate>;
    /// Its options as they were written, for people.
    fn options(&self) -> Vec<(&'static str, Json)> {
        Vec::new()
    }
    /// The type of the finished value.
    fn output(&self) -> ValueType;

    /// The state that has absorbed nothing.
    fn empty(&self) -> Self::State;
    /// Takes one value in. The caller leaves out nulls; a `count` of entries gets any value.
    fn absorb(&self, state: &mut Self::State, stamp: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind>;
    /// Joins what another state has absorbed.
    fn merge(&self, state: &mut Self::State, other: &Self::State) -> Result<(), WrongKind>;
    /// `merge` of a state that nobody else needs, which can move into an empty one.
    fn take(&self, state: &mut Self::State, other: Self::State) -> Result<(), WrongKind> {
        self.merge(state, &other)
    }
    /// The value that readers see; None where there is nothing to show.
    fn finish(&self, state: &Self::State, at: At) -> Result<Option<Json>, FinishError>;

    /// Writes a state: a tag, then what it holds.
    fn write(state: &Self::State, writer: &mut Writer);
    /// Reads a state, and refuses the tag of another kind as `WrongShape`.
    fn read(&self, reader: &mut Reader<'_>) -> Result<Self::State, DecodeError>;
    /// Steps over a state.
    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError>;
    /// Merges the state that stands in the bytes.
    fn fold(&self, reader: &mut Reader<'_>, into: &mut Self::State) -> Result<(), DecodeError> {
        let state = self.read(reader)?;
        Ok(self.take(into, state)?)
    }
    /// The most bytes of a state.
    fn max_bytes(&self) -> u64;
    /// The most bytes of the finished value in BSON.
    fn max_shown_bytes(&self) -> u64 {
        shown::max_bytes(&self.output())
    }

    /// The aggregate over the rows of one key in ClickHouse, as a text that [`finish_sql`](Self::finish_sql) reads.
    fn sql(&self, input: &SqlInput<'_>) -> String;
    /// The state that such a text describes; None where it describes none.
    fn read_sql(&self, text: &str) -> Option<Self::State>;
    /// The value that readers see, from SQL's text. NULL is the empty state.
    fn finish_sql(&self, text: Option<&str>, at: At) -> Result<Option<Json>, FinishError> {
        let state = text.map_or_else(|| Some(self.empty()), |text| self.read_sql(text));
        self.finish(&state.ok_or_else(|| sql::unreadable(text))?, at)
    }
}

/// Refuses the tag of another kind of state.
pub(super) fn expect_tag(reader: &mut Reader<'_>, own: u8) -> Result<(), DecodeError> {
    if reader.byte()? == own { Ok(()) } else { Err(DecodeError::WrongShape) }
}
