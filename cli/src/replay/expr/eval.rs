//! Computes an expression for one row. Null goes through everything but `coalesce`, `is_null`, `and` and `or`.

use std::cmp::Ordering;

use super::{Expr, Function, Op, Place};
use crate::replay::value::{Decimal, Value};

/// Why a row has no value here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EvalError {
    /// A number with a fraction where a whole one is meant.
    #[error("`{0}` is no whole number; round it with decimal(…, 0) or leave the row out with `filter`")]
    NotWhole(String),
    /// What cannot be made a number.
    #[error("`{0}` is no number; leave the row out with `filter`")]
    NotANumber(String),
    /// What cannot be read as a time.
    #[error("`{0}` is no time; give its format, such as time(…, '%d/%m/%Y %H:%M')")]
    NotATime(String),
    /// Floats have no exact arithmetic.
    #[error("arithmetic is exact and takes no float: cast it first, such as decimal(…, 2)")]
    Float,
    /// Two kinds that do not go together.
    #[error("cannot {doing} {left} and {right}")]
    Kinds {
        /// The verb.
        doing: &'static str,
        /// The left kind.
        left: &'static str,
        /// The right kind.
        right: &'static str,
    },
    /// A condition that is no condition.
    #[error("expected true or false, got {0}")]
    NotABool(&'static str),
    /// Too many digits.
    #[error("the result has too many digits")]
    TooLarge,
}

/// A row as expressions see it.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'r> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its own columns.
    pub columns: &'r [Value],
    /// The row found in each joined table; empty where there is none.
    pub joined: &'r [&'r [Value]],
}

impl<'r> RowView<'r> {
    fn get(self, place: Place) -> &'r Value {
        let found = match place {
            Place::Own(column) => self.columns.get(column),
            Place::Joined(table, column) => self.joined.get(table).and_then(|row| row.get(column)),
        };
        found.unwrap_or(&Value::Null)
    }
}

impl Expr<Place> {
    /// The value for that row.
    pub fn eval(&self, row: RowView<'_>) -> Result<Value, EvalError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Column(place) => Ok(row.get(*place).clone()),
            Self::Row => i64::try_from(row.number).map(Value::Int).map_err(|_| EvalError::TooLarge),
            Self::Call(function, inputs) => call(*function, inputs, row),
            Self::Binary(op @ (Op::Or | Op::And), left, right) => logic(*op, left.eval(row)?, || right.eval(row)),
            Self::Binary(op, left, right) => binary(*op, &left.eval(row)?, &right.eval(row)?),
            Self::Not(inner) => Ok(match truth(&inner.eval(row)?)? {
                Some(truth) => Value::Bool(!truth),
                None => Value::Null,
            }),
        }
    }

    /// Whether a row stays: null is no.
    pub fn holds(&self, row: RowView<'_>) -> Result<bool, EvalError> {
        Ok(truth(&self.eval(row)?)?.unwrap_or(false))
    }
}

fn truth(value: &Value) -> Result<Option<bool>, EvalError> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(truth) => Ok(Some(*truth)),
        other => Err(EvalError::NotABool(other.kind())),
    }
}

/// Three-valued, as in SQL; the right side is not looked at where the left one decides.
fn logic(op: Op, left: Value, right: impl FnOnce() -> Result<Value, EvalError>) -> Result<Value, EvalError> {
    let decisive = op == Op::Or;
    let left = truth(&left)?;
    if left == Some(decisive) {
        return Ok(Value::Bool(decisive));
    }
    Ok(match (left, truth(&right()?)?) {
        (_, Some(right)) if right == decisive => Value::Bool(decisive),
        (Some(_), Some(_)) => Value::Bool(!decisive),
        _ => Value::Null,
    })
}

fn call(function: Function, inputs: &[Expr<Place>], row: RowView<'_>) -> Result<Value, EvalError> {
    match function {
        Function::Concat => {
            let mut text = String::new();
            for input in inputs {
                match input.eval(row)? {
                    Value::Null => return Ok(Value::Null),
                    value => text.push_str(&value.to_string()),
                }
            }
            return Ok(Value::Text(text));
        }
        Function::Coalesce => {
            for input in inputs {
                let value = input.eval(row)?;
                if value != Value::Null {
                    return Ok(value);
                }
            }
            return Ok(Value::Null);
        }
        _ => {}
    }
    let value = inputs.first().map_or(Ok(Value::Null), |input| input.eval(row))?;
    if function == Function::IsNull {
        return Ok(Value::Bool(value == Value::Null));
    }
    if value == Value::Null {
        return Ok(Value::Null);
    }
    match (function, inputs.get(1)) {
        (Function::Int, _) => int(value),
        (Function::Decimal, Some(Expr::Literal(Value::Int(scale)))) => decimal(&value, *scale),
        (Function::Time, Some(Expr::Literal(Value::Text(format)))) => time(&value, Some(format)),
        (Function::Time, _) => time(&value, None),
        _ => Ok(Value::Text(value.to_string())),
    }
}

fn int(value: Value) -> Result<Value, EvalError> {
    let not_whole = || EvalError::NotWhole(value.to_string());
    let whole = match &value {
        Value::Int(whole) | Value::Time(whole) => *whole,
        Value::Bool(truth) => i64::from(*truth),
        Value::Decimal(decimal) => decimal.as_int().ok_or_else(not_whole)?,
        Value::Float(_) | Value::Text(_) => {
            let text = value.to_string();
            let decimal = Decimal::parse(text.trim()).map_err(|_| EvalError::NotANumber(text))?;
            decimal.as_int().ok_or_else(not_whole)?
        }
        Value::Null | Value::Json(_) => return Err(EvalError::NotANumber(value.to_string())),
    };
    Ok(Value::Int(whole))
}

fn decimal(value: &Value, scale: i64) -> Result<Value, EvalError> {
    let scale = u32::try_from(scale).map_err(|_| EvalError::TooLarge)?;
    let rounded = match value {
        Value::Int(whole) => Decimal::from(*whole).round(scale).ok_or(EvalError::TooLarge)?,
        Value::Decimal(decimal) => decimal.round(scale).ok_or(EvalError::TooLarge)?,
        // A float is meant as the shortest decimal that reads back as it, which is what Display writes.
        Value::Float(_) | Value::Text(_) => {
            let text = value.to_string();
            Decimal::round_text(text.trim(), scale).map_err(|_| EvalError::NotANumber(text))?
        }
        other => return Err(EvalError::NotANumber(other.to_string())),
    };
    Ok(Value::Decimal(rounded))
}

fn time(value: &Value, format: Option<&str>) -> Result<Value, EvalError> {
    let parsed = match value {
        Value::Time(ms) | Value::Int(ms) => Some(*ms),
        Value::Text(text) => parse_time(text.trim(), format),
        _ => None,
    };
    parsed.map(Value::Time).ok_or_else(|| EvalError::NotATime(value.to_string()))
}

/// RFC 3339, or a date with or without a time of day, taken as UTC.
fn parse_time(text: &str, format: Option<&str>) -> Option<i64> {
    use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
    let utc_ms = |naive: NaiveDateTime| naive.and_utc().timestamp_millis();
    let midnight = |date: NaiveDate| utc_ms(date.and_time(NaiveTime::MIN));
    if let Some(format) = format {
        let zoned = DateTime::parse_from_str(text, format).ok().map(|time| time.timestamp_millis());
        return zoned
            .or_else(|| NaiveDateTime::parse_from_str(text, format).ok().map(utc_ms))
            .or_else(|| NaiveDate::parse_from_str(text, format).ok().map(midnight));
    }
    let zoned = DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    zoned
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok().map(utc_ms))
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(utc_ms))
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(midnight))
}

fn binary(op: Op, left: &Value, right: &Value) -> Result<Value, EvalError> {
    if *left == Value::Null || *right == Value::Null {
        return Ok(Value::Null);
    }
    let order = |wanted: fn(Ordering) -> bool| compare(left, right).map(|order| Value::Bool(wanted(order)));
    match op {
        Op::Equal => order(Ordering::is_eq),
        Op::NotEqual => order(Ordering::is_ne),
        Op::Less => order(Ordering::is_lt),
        Op::LessOrEqual => order(Ordering::is_le),
        Op::Greater => order(Ordering::is_gt),
        Op::GreaterOrEqual => order(Ordering::is_ge),
        _ => arithmetic(op, left, right),
    }
}

fn compare(left: &Value, right: &Value) -> Result<Ordering, EvalError> {
    use Value::{Bool, Decimal as Exact, Float, Int, Text, Time};
    match (left, right) {
        (Bool(a), Bool(b)) => Ok(a.cmp(b)),
        (Text(a), Text(b)) => Ok(a.as_bytes().cmp(b.as_bytes())),
        (Int(a) | Time(a), Int(b) | Time(b)) => Ok(a.cmp(b)),
        (Float(a), Float(b)) => Ok(a.total_cmp(b)),
        (Float(_), _) | (_, Float(_)) => Err(EvalError::Float),
        (Int(_) | Exact(_), Int(_) | Exact(_)) => {
            let (a, b) = exact(left).zip(exact(right)).and_then(|(a, b)| a.align(b)).ok_or(EvalError::TooLarge)?;
            Ok(a.units.cmp(&b.units))
        }
        _ => Err(EvalError::Kinds { doing: "compare", left: left.kind(), right: right.kind() }),
    }
}

fn exact(value: &Value) -> Option<Decimal> {
    match value {
        Value::Int(whole) => Some(Decimal::from(*whole)),
        Value::Decimal(decimal) => Some(*decimal),
        _ => None,
    }
}

fn arithmetic(op: Op, left: &Value, right: &Value) -> Result<Value, EvalError> {
    use Value::{Float, Int, Time};
    let whole = |a: i64, b: i64| {
        let result = match op {
            Op::Add => a.checked_add(b),
            Op::Subtract => a.checked_sub(b),
            _ => a.checked_mul(b),
        };
        result.ok_or(EvalError::TooLarge)
    };
    match (left, right) {
        (Int(a), Int(b)) => whole(*a, *b).map(Int),
        (Time(a), Int(b)) if op != Op::Multiply => whole(*a, *b).map(Time),
        (Time(a), Time(b)) if op == Op::Subtract => whole(*a, *b).map(Int),
        (Float(_), _) | (_, Float(_)) => Err(EvalError::Float),
        _ => match (exact(left), exact(right)) {
            (Some(a), Some(b)) => decimals(op, a, b).map(Value::Decimal).ok_or(EvalError::TooLarge),
            _ => {
                let doing = match op {
                    Op::Add => "add",
                    Op::Subtract => "subtract",
                    _ => "multiply",
                };
                Err(EvalError::Kinds { doing, left: left.kind(), right: right.kind() })
            }
        },
    }
}

fn decimals(op: Op, a: Decimal, b: Decimal) -> Option<Decimal> {
    if op == Op::Multiply {
        return Some(Decimal { units: a.units.checked_mul(b.units)?, scale: a.scale + b.scale });
    }
    let (a, b) = a.align(b)?;
    let units = if op == Op::Add { a.units.checked_add(b.units) } else { a.units.checked_sub(b.units) };
    Some(Decimal { units: units?, scale: a.scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns: a = 0.1 (float), b = "17850.0", c = null, d = 2.50 (decimal), e = 1483228800000 (time).
    fn eval(text: &str) -> Result<Value, EvalError> {
        let columns = [
            Value::Float(0.1),
            Value::Text("17850.0".into()),
            Value::Null,
            Value::Decimal(Decimal::parse("2.50").unwrap()),
            Value::Time(1_483_228_800_000),
        ];
        let place = |name: String| Ok::<Place, ()>(Place::Own("abcde".find(&name).unwrap()));
        let expression = Expr::parse(text).unwrap().bind(&mut { place }).unwrap();
        expression.eval(RowView { number: 7, columns: &columns, joined: &[] })
    }

    fn shown(text: &str) -> String {
        eval(text).unwrap().to_string()
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(shown("decimal(a, 2) + d * 3"), "7.60");
        assert_eq!(shown("d * d"), "6.2500");
        assert_eq!(shown("-d"), "-2.50");
        assert_eq!(shown("d - 2"), "0.50");
        assert_eq!(eval("a + 1"), Err(EvalError::Float));
    }

    #[test]
    fn casts_lose_nothing_silently() {
        assert_eq!(eval("int(b)"), Ok(Value::Int(17850)));
        assert!(matches!(eval("int(d)"), Err(EvalError::NotWhole(_))));
        assert_eq!(shown("decimal(d, 0)"), "3");
        assert!(matches!(eval("int('x')"), Err(EvalError::NotANumber(_))));
    }

    #[test]
    fn null_goes_through_and_coalesce_ends_it() {
        assert_eq!(eval("c + 1"), Ok(Value::Null));
        assert_eq!(eval("concat('x', c)"), Ok(Value::Null));
        assert_eq!(eval("int(c)"), Ok(Value::Null));
        assert_eq!(eval("coalesce(c, b)"), Ok(Value::Text("17850.0".into())));
        assert_eq!(eval("is_null(c) and not is_null(b)"), Ok(Value::Bool(true)));
        assert_eq!(eval("c = 1 or true"), Ok(Value::Bool(true)));
        assert_eq!(eval("c = 1 or false"), Ok(Value::Null));
        assert_eq!(eval("c = 1 and false"), Ok(Value::Bool(false)));
    }

    #[test]
    fn times_move_by_durations() {
        assert_eq!(eval("e + 1d"), Ok(Value::Time(1_483_228_800_000 + 86_400_000)));
        assert_eq!(eval("time('2017-01-01') = e"), Ok(Value::Bool(true)));
        assert_eq!(eval("time('2017-01-01T01:00:00+01:00') = e"), Ok(Value::Bool(true)));
        assert_eq!(eval("time('01/01/2017 00:00', '%d/%m/%Y %H:%M') = e"), Ok(Value::Bool(true)));
        assert!(matches!(eval("time('yesterday')"), Err(EvalError::NotATime(_))));
    }

    #[test]
    fn rows_have_their_number() {
        assert_eq!(shown("concat('lines-', row)"), "lines-7");
        assert_eq!(eval("row > 6 and d >= 2.5"), Ok(Value::Bool(true)));
    }
}
