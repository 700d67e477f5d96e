//! How an aggregate is declared: its options and input as definitions write them, and what can be wrong with them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Aggregate;
use crate::decimal::DecimalType;
use crate::definitions::ValueType;

/// The options of a feature by name. Each aggregate takes its own out; the rest is an error.
pub type Options = BTreeMap<String, Json>;

/// Decimal digits that a sum may start from: they leave room for 10^10 values in an `i128`.
const MAX_SUM_PRECISION: u8 = 28;

/// Why an aggregate cannot be declared so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAggregate {
    /// No aggregate has that name.
    #[error("agg `{0}` is not known; expected one of {names}", names = Aggregate::NAMES.join(", "))]
    Unknown(String),
    /// The aggregate has no such option.
    #[error("`{option}` is not an option of `{name}`; leave it out")]
    UnknownOption {
        /// The aggregate.
        name: &'static str,
        /// What was written.
        option: String,
    },
    /// An option is missing or out of its range.
    #[error("`{name}` needs `{option}` {range}")]
    Option {
        /// The aggregate.
        name: &'static str,
        /// The option.
        option: &'static str,
        /// The values that it can have.
        range: String,
    },
    /// It reads a value, and none is named.
    #[error("`{0}` needs a `value`")]
    MissingValue(&'static str),
    /// It needs to know the type of its value.
    #[error("the `type` of its value is missing; write for example int64 or decimal(18,2)")]
    MissingType,
    /// It cannot read values of that type.
    #[error("`{name}` cannot read values of type {input}")]
    WrongInput {
        /// The aggregate.
        name: &'static str,
        /// The type.
        input: String,
    },
    /// The sum of such decimals has no room.
    #[error(
        "a summed decimal has at most {MAX_SUM_PRECISION} digits, so that a sum has room; write a smaller precision"
    )]
    TooPrecise,
}

/// The declared type of the input of an aggregate that reads one, if the aggregate takes it.
pub(super) fn typed(
    name: &'static str,
    input: Option<&ValueType>,
    takes: impl FnOnce(&ValueType) -> bool,
) -> Result<ValueType, InvalidAggregate> {
    match input {
        None => Err(InvalidAggregate::MissingValue(name)),
        Some(ValueType::Any) => Err(InvalidAggregate::MissingType),
        Some(kind) if takes(kind) => Ok(kind.clone()),
        Some(kind) => Err(InvalidAggregate::WrongInput { name, input: kind.to_string() }),
    }
}

/// The type of the input of an aggregate that adds values up.
pub(super) fn summable(name: &'static str, input: Option<&ValueType>) -> Result<ValueType, InvalidAggregate> {
    match typed(name, input, ValueType::is_numeric)? {
        ValueType::Decimal(DecimalType { precision, .. }) if precision > MAX_SUM_PRECISION => {
            Err(InvalidAggregate::TooPrecise)
        }
        kind => Ok(kind),
    }
}

/// A whole number between 1 and `most`.
pub(super) fn whole_number(
    name: &'static str,
    option: &'static str,
    most: u32,
    options: &mut Options,
) -> Result<u32, InvalidAggregate> {
    let written = options.remove(option).and_then(|value| value.as_u64()).and_then(|number| u32::try_from(number).ok());
    let invalid = || InvalidAggregate::Option { name, option, range: format!("between 1 and {most}") };
    written.filter(|number| (1..=most).contains(number)).ok_or_else(invalid)
}
