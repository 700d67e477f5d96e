//! The aggregates: `empty, absorb, merge, finish`. Merge is associative and commutative; where order matters the state
//! carries the entry's stamp, so that any split and any order give one answer.
//!
//! Each aggregate has one file, which implements `Fold`, and one line in the table below. The macro makes two enums of
//! the table and all dispatch between them. Entries, and the windows in which they count, are left to others.

mod count;
mod distinct_count;
mod edge;
mod extreme;
mod first;
mod fold;
mod last;
mod last_n;
mod max;
mod mean;
mod min;
mod number;
mod options;
mod shown;
mod sql;
mod stamp;
mod sum;
mod variance;

pub use distinct_count::MAX_DISTINCT;
pub use options::{InvalidAggregate, Options};
pub use sql::SqlInput;
pub(crate) use stamp::STAMP_COLUMNS;
pub use stamp::Stamp;

use serde_json::Value as Json;

use fold::Fold;

use crate::bytes::{DecodeError, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// The instant that a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The instant, epoch ms.
    pub t: i64,
    /// The earliest feature time that the window covers; None where no time is too early.
    pub window_start: Option<i64>,
    /// The greatest feature time that the view has absorbed.
    pub newest: i64,
}

/// A state is of another aggregate or window than the declared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state is of another kind than the declared aggregate or window")]
pub struct WrongKind;

/// Why a state has no value to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// Past the exact range.
    #[error("more than {MAX_DISTINCT} distinct values")]
    TooManyDistinct,
    /// The sum of the squared distances needs more than 256 bits.
    #[error("too many values, or too large ones, for an exact variance")]
    TooManyToSquare,
    /// SQL's text describes no state of the aggregate.
    #[error("unexpected value from the events: {0}")]
    Unreadable(String),
    /// The slots of the view hold another kind of state.
    #[error(transparent)]
    WrongKind(#[from] WrongKind),
}

impl From<WrongKind> for DecodeError {
    fn from(WrongKind: WrongKind) -> Self {
        Self::WrongShape
    }
}

macro_rules! aggregates {
    ($($Name:ident => $file:ident,)*) => {
        /// A declared aggregate, with its options and the type of its input.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each file says what its aggregate is")]
        pub enum Aggregate {
            $($Name($file::$Name),)*
        }

        /// The state of an aggregate: the part that it keeps of the entries that it has absorbed.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each file says what its state is")]
        pub enum AggregateState {
            $($Name(<$file::$Name as Fold>::State),)*
        }

        impl Aggregate {
            /// The names of all aggregates in definitions.
            pub const NAMES: &'static [&'static str] = &[$($file::$Name::NAME,)*];
            /// How definitions write each aggregate, once at least. Tests of all aggregates use these.
            pub const EXAMPLES: &'static [&'static [&'static str]] = &[$($file::$Name::EXAMPLES,)*];

            fn parse_own(
                name: &str,
                options: &mut Options,
                input: Option<&ValueType>,
            ) -> Result<Self, InvalidAggregate> {
                match name {
                    $($file::$Name::NAME => Ok(Self::$Name(Fold::parse(options, input)?)),)*
                    _ => Err(InvalidAggregate::Unknown(name.to_owned())),
                }
            }

            /// Its name in definitions.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Name(_) => $file::$Name::NAME,)*
                }
            }

            /// The first engine that has it.
            pub fn since(&self) -> u32 {
                match self {
                    $(Self::$Name(_) => $file::$Name::SINCE,)*
                }
            }

            /// Its options as they were written, for people.
            pub fn options(&self) -> Vec<(&'static str, Json)> {
                match self {
                    $(Self::$Name(own) => own.options(),)*
                }
            }

            /// The type of the finished value.
            pub fn output(&self) -> ValueType {
                match self {
                    $(Self::$Name(own) => own.output(),)*
                }
            }

            /// The state that has absorbed nothing.
            pub fn empty(&self) -> AggregateState {
                match self {
                    $(Self::$Name(own) => AggregateState::$Name(own.empty()),)*
                }
            }

            /// Takes one value in. The caller leaves out nulls; a `count` of entries gets any value.
            pub fn absorb(
                &self,
                state: &mut AggregateState,
                stamp: Stamp<'_>,
                value: &Scalar<'_>,
            ) -> Result<(), WrongKind> {
                match self {
                    $(Self::$Name(own) => {
                        let AggregateState::$Name(state) = state else { return Err(WrongKind) };
                        own.absorb(state, stamp, value)
                    })*
                }
            }

            /// Joins what another state of this aggregate has absorbed.
            pub fn merge(&self, state: &mut AggregateState, other: &AggregateState) -> Result<(), WrongKind> {
                match self {
                    $(Self::$Name(own) => {
                        let AggregateState::$Name(state) = state else { return Err(WrongKind) };
                        let AggregateState::$Name(other) = other else { return Err(WrongKind) };
                        own.merge(state, other)
                    })*
                }
            }

            /// The value that readers see; None where there is nothing to show.
            pub fn finish(&self, state: &AggregateState, at: At) -> Result<Option<Json>, FinishError> {
                match self {
                    $(Self::$Name(own) => {
                        let AggregateState::$Name(state) = state else { return Err(WrongKind.into()) };
                        own.finish(state, at)
                    })*
                }
            }

            /// Reads a state of this aggregate.
            pub(crate) fn read(&self, reader: &mut Reader<'_>) -> Result<AggregateState, DecodeError> {
                match self {
                    $(Self::$Name(own) => own.read(reader).map(AggregateState::$Name),)*
                }
            }

            /// Steps over a state of this aggregate.
            pub(crate) fn skip(&self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
                match self {
                    $(Self::$Name(_) => $file::$Name::skip(reader),)*
                }
            }

            /// Merges the state of this aggregate that stands in the bytes.
            pub(crate) fn fold(&self, reader: &mut Reader<'_>, into: &mut AggregateState) -> Result<(), DecodeError> {
                match self {
                    $(Self::$Name(own) => {
                        let AggregateState::$Name(into) = into else { return Err(DecodeError::WrongShape) };
                        own.fold(reader, into)
                    })*
                }
            }

            /// The most bytes of a state.
            pub(crate) fn max_bytes(&self) -> u64 {
                match self {
                    $(Self::$Name(own) => own.max_bytes(),)*
                }
            }

            /// The most bytes of the finished value in BSON.
            pub(crate) fn max_shown_bytes(&self) -> u64 {
                match self {
                    $(Self::$Name(own) => own.max_shown_bytes(),)*
                }
            }

            /// The aggregate over the rows of one key in ClickHouse, as text.
            pub(crate) fn sql(&self, input: &SqlInput<'_>) -> String {
                match self {
                    $(Self::$Name(own) => own.sql(input),)*
                }
            }

            /// The value that readers see, from SQL's text; NULL is the empty state.
            pub(crate) fn finish_sql(&self, text: Option<&str>, at: At) -> Result<Option<Json>, FinishError> {
                match self {
                    $(Self::$Name(own) => own.finish_sql(text, at),)*
                }
            }
        }

        impl AggregateState {
            /// Writes the state.
            pub(crate) fn write(&self, writer: &mut Writer) {
                match self {
                    $(Self::$Name(state) => $file::$Name::write(state, writer),)*
                }
            }
        }
    };
}

// The table: one line for each aggregate.
aggregates! {
    Count => count,
    Sum => sum,
    Mean => mean,
    Min => min,
    Max => max,
    First => first,
    Last => last,
    LastN => last_n,
    DistinctCount => distinct_count,
    VarPop => variance,
    VarSamp => variance,
    StddevPop => variance,
    StddevSamp => variance,
}

impl Aggregate {
    /// Reads an aggregate as definitions write it. `input` is the type of what it reads; None where no `value` is named,
    /// `Any` where the value has no declared type.
    pub fn parse(name: &str, mut options: Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        let aggregate = Self::parse_own(name, &mut options, input)?;
        match options.into_keys().next() {
            Some(option) => Err(InvalidAggregate::UnknownOption { name: aggregate.name(), option }),
            None => Ok(aggregate),
        }
    }
}
