//! The operators over two values that are not null: exact arithmetic and comparisons. Logic is left to `eval`.

use std::cmp::Ordering;

use super::error::EvalError;
use super::tree::{ArithmeticOp, CompareOp};
use super::value::ExprValue::{self, Bool, Decimal as Exact, Float, Int, Json, Null, Text, Time};
use crate::decimal::Decimal;

impl CompareOp {
    /// Whether the comparison holds.
    pub(super) fn holds(self, left: &ExprValue, right: &ExprValue) -> Result<bool, EvalError> {
        let order = compare(left, right)?;
        Ok(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

impl ArithmeticOp {
    /// The result.
    pub(super) fn apply(self, left: &ExprValue, right: &ExprValue) -> Result<ExprValue, EvalError> {
        let result = match (left, self, right) {
            (Int(a), _, Int(b)) => self.of_ints(*a, *b).map(Int),
            (Time(a), Self::Add | Self::Subtract, Int(b)) => self.of_ints(*a, *b).map(Time),
            (Time(a), Self::Subtract, Time(b)) => self.of_ints(*a, *b).map(Int),
            (Float(_), _, _) | (_, _, Float(_)) => return Err(EvalError::Float),
            (left, _, right) => match (exact(left), exact(right)) {
                (Some(a), Some(b)) => self.of_decimals(a, b).map(Exact),
                (None, _) | (_, None) => {
                    return Err(EvalError::Kinds { doing: self.verb(), left: left.kind(), right: right.kind() });
                }
            },
        };
        result.ok_or(EvalError::TooLarge)
    }

    fn of_ints(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Self::Add => a.checked_add(b),
            Self::Subtract => a.checked_sub(b),
            Self::Multiply => a.checked_mul(b),
        }
    }

    fn of_decimals(self, a: Decimal, b: Decimal) -> Option<Decimal> {
        match self {
            Self::Add => a.checked_add(b),
            Self::Subtract => a.checked_sub(b),
            Self::Multiply => a.checked_mul(b),
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
        }
    }
}

fn compare(left: &ExprValue, right: &ExprValue) -> Result<Ordering, EvalError> {
    match (left, right) {
        (Bool(a), Bool(b)) => Ok(a.cmp(b)),
        (Text(a), Text(b)) => Ok(a.as_bytes().cmp(b.as_bytes())),
        (Int(a) | Time(a), Int(b) | Time(b)) => Ok(a.cmp(b)),
        (Float(a), Float(b)) => Ok(a.total_cmp(b)),
        (Float(_), _) | (_, Float(_)) => Err(EvalError::Float),
        (left, right) => match (exact(left), exact(right)) {
            (Some(a), Some(b)) => a.align(b).map(|(a, b)| a.units.cmp(&b.units)).ok_or(EvalError::TooLarge),
            (None, _) | (_, None) => Err(EvalError::Kinds { doing: "compare", left: left.kind(), right: right.kind() }),
        },
    }
}

/// The decimal that a value is, when it is an exact number.
fn exact(value: &ExprValue) -> Option<Decimal> {
    match value {
        Int(whole) => Some(Decimal::from(*whole)),
        Exact(decimal) => Some(*decimal),
        Null | Bool(_) | Float(_) | Text(_) | Time(_) | Json(_) => None,
    }
}
