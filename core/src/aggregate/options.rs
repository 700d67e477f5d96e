//! The checks that the declarations of several aggregates share, and the errors of a declaration. The file of each aggregate
//! reads its own declaration; `mod` refuses the options that it has not read.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Aggregate;
use crate::decimal::DecimalType;
use crate::definitions::ValueType;

/// The options of a feature, by their names in definitions: `n` of `last_n`, for example. `agg`, `value` and the fields
/// that each feature has are not among them. An aggregate removes the options that it reads; one that is left over is an
/// error.
pub type Options = BTreeMap<String, Json>;

/// The most digits of a decimal that can be summed. A sum is an `i128`, which holds 38 digits, so 10^10 values fit.
const MAX_SUM_PRECISION: u8 = 28;

/// The error of an aggregate's declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAggregate {
    /// No aggregate has that name.
    #[error("agg `{0}` is not known; expected one of {names}", names = Aggregate::NAMES.join(", "))]
    Unknown(String),
    /// The aggregate does not have that option.
    #[error("`{option}` is not an option of `{name}`; leave it out")]
    UnknownOption {
        /// The aggregate.
        name: &'static str,
        /// The option as it was written.
        option: String,
    },
    /// An option is missing, has the wrong type, or is out of its range.
    #[error("`{name}` needs `{option}` {range}")]
    Option {
        /// The aggregate.
        name: &'static str,
        /// The option.
        option: &'static str,
        /// The values that it can have.
        range: String,
    },
    /// The aggregate reads a value, but the feature names none.
    #[error("`{0}` needs a `value`")]
    MissingValue(&'static str),
    /// The aggregate needs a value of a declared type.
    #[error("the `type` of its value is missing; write for example int64 or decimal(18,2)")]
    MissingType,
    /// The aggregate cannot read values of that type.
    #[error("`{name}` cannot read values of type {input}")]
    WrongInput {
        /// The aggregate.
        name: &'static str,
        /// The type.
        input: String,
    },
    /// The decimals have so much precision that their sum could overflow.
    #[error(
        "a summed decimal has at most {MAX_SUM_PRECISION} digits, so that a sum has room; write a smaller precision"
    )]
    TooPrecise,
}

/// Returns the declared type of the input. It is an error if there is no input, if the input has no declared type, or if
/// `takes` refuses the type.
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

/// Returns the declared type of the input of an aggregate that adds values up: a number, and not too precise a decimal.
pub(super) fn summable(name: &'static str, input: Option<&ValueType>) -> Result<ValueType, InvalidAggregate> {
    match typed(name, input, ValueType::is_numeric)? {
        ValueType::Decimal(DecimalType { precision, .. }) if precision > MAX_SUM_PRECISION => {
            Err(InvalidAggregate::TooPrecise)
        }
        kind => Ok(kind),
    }
}

/// Removes `option` from the options and returns it, if it is a whole number between 1 and `most`.
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
