//! Computes an expression for one row. Null goes through everything but `coalesce`, `is_null`, `and` and `or`.

use super::error::EvalError;
use super::tree::{Expr, LogicOp};
use super::value::ExprValue;

/// A row, as an expression with columns of type `C` reads it.
pub trait ExprRow<C> {
    /// The value of a column; null when the row has none.
    fn column(&self, column: &C) -> &ExprValue;

    /// The number of the row in its file, from 1.
    fn number(&self) -> u64;
}

impl<C> Expr<C> {
    /// The value for this row.
    pub fn eval(&self, row: &impl ExprRow<C>) -> Result<ExprValue, EvalError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Column(column) => Ok(row.column(column).clone()),
            Self::RowNumber => i64::try_from(row.number()).map(ExprValue::Int).map_err(|_| EvalError::TooLarge),
            Self::Concat(inputs) => concat(inputs, row),
            Self::Coalesce(inputs) => coalesce(inputs, row),
            Self::IsNull(input) => Ok(ExprValue::Bool(input.eval(row)? == ExprValue::Null)),
            Self::Not(input) => Ok(from_truth(truth(&input.eval(row)?)?.map(|truth| !truth))),
            Self::Cast(cast, input) => cast.apply(&input.eval(row)?),
            Self::Logic(op, left, right) => logic(*op, &left.eval(row)?, || right.eval(row)),
            Self::Compare(op, left, right) => {
                unless_null(&left.eval(row)?, &right.eval(row)?, |a, b| op.holds(a, b).map(ExprValue::Bool))
            }
            Self::Arithmetic(op, left, right) => {
                unless_null(&left.eval(row)?, &right.eval(row)?, |a, b| op.apply(a, b))
            }
        }
    }

    /// Whether a condition holds for this row. Null means that it does not.
    pub fn holds(&self, row: &impl ExprRow<C>) -> Result<bool, EvalError> {
        Ok(truth(&self.eval(row)?)?.unwrap_or(false))
    }
}

fn concat<C>(inputs: &[Expr<C>], row: &impl ExprRow<C>) -> Result<ExprValue, EvalError> {
    let mut text = String::new();
    for input in inputs {
        let value = input.eval(row)?;
        if value == ExprValue::Null {
            return Ok(ExprValue::Null);
        }
        text.push_str(&value.to_string());
    }
    Ok(ExprValue::Text(text))
}

fn coalesce<C>(inputs: &[Expr<C>], row: &impl ExprRow<C>) -> Result<ExprValue, EvalError> {
    for input in inputs {
        let value = input.eval(row)?;
        if value != ExprValue::Null {
            return Ok(value);
        }
    }
    Ok(ExprValue::Null)
}

/// Three-valued, as in SQL. The right side is not evaluated when the left one decides.
fn logic(
    op: LogicOp,
    left: &ExprValue,
    right: impl FnOnce() -> Result<ExprValue, EvalError>,
) -> Result<ExprValue, EvalError> {
    let decisive = match op {
        LogicOp::Or => true,
        LogicOp::And => false,
    };
    let left = truth(left)?;
    if left == Some(decisive) {
        return Ok(ExprValue::Bool(decisive));
    }
    let right = truth(&right()?)?;
    if right == Some(decisive) {
        return Ok(ExprValue::Bool(decisive));
    }
    Ok(from_truth(left.and(right)))
}

fn unless_null(
    left: &ExprValue,
    right: &ExprValue,
    compute: impl FnOnce(&ExprValue, &ExprValue) -> Result<ExprValue, EvalError>,
) -> Result<ExprValue, EvalError> {
    if *left == ExprValue::Null || *right == ExprValue::Null {
        return Ok(ExprValue::Null);
    }
    compute(left, right)
}

fn truth(value: &ExprValue) -> Result<Option<bool>, EvalError> {
    match value {
        ExprValue::Null => Ok(None),
        ExprValue::Bool(truth) => Ok(Some(*truth)),
        other => Err(EvalError::NotABool(other.kind())),
    }
}

fn from_truth(truth: Option<bool>) -> ExprValue {
    truth.map_or(ExprValue::Null, ExprValue::Bool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Decimal;

    struct TestRow([ExprValue; 5]);

    impl ExprRow<usize> for TestRow {
        fn column(&self, column: &usize) -> &ExprValue {
            &self.0[*column]
        }

        fn number(&self) -> u64 {
            7
        }
    }

    /// Columns: a = 0.1 (float), b = "17850.0", c = null, d = 2.50 (decimal), e = 1483228800000 (time).
    fn eval(text: &str) -> Result<ExprValue, EvalError> {
        let row = TestRow([
            ExprValue::Float(0.1),
            ExprValue::Text("17850.0".into()),
            ExprValue::Null,
            ExprValue::Decimal(Decimal::parse("2.50").unwrap()),
            ExprValue::Time(1_483_228_800_000),
        ]);
        Expr::parse(text).unwrap().bind(&mut |name| "abcde".find(&name).unwrap()).eval(&row)
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
        assert_eq!(eval("d > a"), Err(EvalError::Float));
    }

    #[test]
    fn casts_lose_nothing_silently() {
        assert_eq!(eval("int(b)"), Ok(ExprValue::Int(17850)));
        assert!(matches!(eval("int(d)"), Err(EvalError::NotWhole(_))));
        assert_eq!(shown("decimal(d, 0)"), "3");
        assert!(matches!(eval("int('x')"), Err(EvalError::NotANumber(_))));
        assert!(matches!(eval("decimal(e, 2)"), Err(EvalError::NotANumber(_))));
        assert!(matches!(eval("time(a)"), Err(EvalError::NotATime(_))));
    }

    #[test]
    fn null_goes_through_and_coalesce_ends_it() {
        assert_eq!(eval("c + 1"), Ok(ExprValue::Null));
        assert_eq!(eval("c < 1"), Ok(ExprValue::Null));
        assert_eq!(eval("not c"), Ok(ExprValue::Null));
        assert_eq!(eval("concat('x', c)"), Ok(ExprValue::Null));
        for cast in ["int(c)", "decimal(c, 2)", "text(c)", "time(c)", "time(c, '%Y')"] {
            assert_eq!(eval(cast), Ok(ExprValue::Null), "{cast}");
        }
        assert_eq!(eval("coalesce(c, b)"), Ok(ExprValue::Text("17850.0".into())));
        assert_eq!(eval("is_null(c) and not is_null(b)"), Ok(ExprValue::Bool(true)));
    }

    #[test]
    fn logic_has_three_values() {
        for (text, value) in [
            ("c = 1 or true", Some(true)),
            ("true or c = 1", Some(true)),
            ("c = 1 or false", None),
            ("c = 1 and false", Some(false)),
            ("false and c = 1", Some(false)),
            ("true and c = 1", None),
            ("true and true", Some(true)),
            ("false or false", Some(false)),
        ] {
            assert_eq!(eval(text), Ok(from_truth(value)), "{text}");
        }
        assert_eq!(eval("true or b"), Ok(ExprValue::Bool(true)), "the right side is not evaluated");
        assert_eq!(eval("false or b"), Err(EvalError::NotABool("text")));
    }

    #[test]
    fn operators_refuse_kinds_that_do_not_go_together() {
        let kinds = |doing, left, right| Err(EvalError::Kinds { doing, left, right });
        assert_eq!(eval("b * 2"), kinds("multiply", "text", "a whole number"));
        assert_eq!(eval("e + e"), kinds("add", "a time", "a time"));
        assert_eq!(eval("e * 2"), kinds("multiply", "a time", "a whole number"));
        assert_eq!(eval("b < 2"), kinds("compare", "text", "a whole number"));
        assert_eq!(eval("e < d"), kinds("compare", "a time", "a decimal"));
        assert_eq!(eval("9223372036854775807 + 1"), Err(EvalError::TooLarge));
    }

    #[test]
    fn times_move_by_durations() {
        assert_eq!(eval("e + 1d"), Ok(ExprValue::Time(1_483_228_800_000 + 86_400_000)));
        assert_eq!(eval("e + 1d - e"), Ok(ExprValue::Int(86_400_000)));
        assert_eq!(eval("time('2017-01-01') = e"), Ok(ExprValue::Bool(true)));
        assert_eq!(eval("time('2017-01-01T01:00:00+01:00') = e"), Ok(ExprValue::Bool(true)));
        assert_eq!(eval("time('2017-01-01 00:00:00.000') = e"), Ok(ExprValue::Bool(true)));
        assert_eq!(eval("time('01/01/2017 00:00', '%d/%m/%Y %H:%M') = e"), Ok(ExprValue::Bool(true)));
        assert_eq!(eval("time('01/01/2017', '%d/%m/%Y') = e"), Ok(ExprValue::Bool(true)));
        assert!(matches!(eval("time('yesterday')"), Err(EvalError::NotATime(_))));
    }

    #[test]
    fn rows_have_their_number() {
        assert_eq!(shown("concat('lines-', row)"), "lines-7");
        assert_eq!(eval("row > 6 and d >= 2.5"), Ok(ExprValue::Bool(true)));
    }
}
