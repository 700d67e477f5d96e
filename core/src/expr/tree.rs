//! The form of a parsed expression. Its types leave no room for a function with the wrong arguments.

use super::value::ExprValue;

/// A checked expression. `C` names its columns: a text after parsing, any type of the user's choice after binding.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr<C> {
    /// A constant.
    Literal(ExprValue),
    /// A column.
    Column(C),
    /// The number of the row in its file, from 1.
    RowNumber,
    /// Texts put together; null when one of them is null.
    Concat(Vec<Self>),
    /// The first value that is not null.
    Coalesce(Vec<Self>),
    /// Whether the value is null.
    IsNull(Box<Self>),
    /// `not a`.
    Not(Box<Self>),
    /// The value as another kind.
    Cast(Cast, Box<Self>),
    /// `a or b`, `a and b`.
    Logic(LogicOp, Box<Self>, Box<Self>),
    /// `a < b` and the like.
    Compare(CompareOp, Box<Self>, Box<Self>),
    /// `a + b` and the like.
    Arithmetic(ArithmeticOp, Box<Self>, Box<Self>),
}

/// The kind that a value is cast to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cast {
    /// A whole number; a fraction is an error.
    Int,
    /// A decimal with `scale` digits after the point, halves rounded away from zero.
    Decimal {
        /// At most 38.
        scale: u32,
    },
    /// Text.
    Text,
    /// A time: from a time, from epoch milliseconds, or from text.
    Time {
        /// How the text is written (`%d/%m/%Y %H:%M`); RFC 3339 or an ISO date when it is not given.
        format: Option<String>,
    },
}

/// Three-valued logic, as in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogicOp {
    /// `a or b`.
    Or,
    /// `a and b`.
    And,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `a = b`.
    Equal,
    /// `a != b`.
    NotEqual,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessOrEqual,
    /// `a > b`.
    Greater,
    /// `a >= b`.
    GreaterOrEqual,
}

/// Exact arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticOp {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`.
    Multiply,
}

impl<C> Expr<C> {
    /// The same expression with every column replaced.
    pub fn bind<D>(self, column: &mut impl FnMut(C) -> D) -> Expr<D> {
        match self {
            Self::Literal(value) => Expr::Literal(value),
            Self::Column(name) => Expr::Column(column(name)),
            Self::RowNumber => Expr::RowNumber,
            Self::Concat(inputs) => Expr::Concat(bind_all(inputs, column)),
            Self::Coalesce(inputs) => Expr::Coalesce(bind_all(inputs, column)),
            Self::IsNull(input) => Expr::IsNull(bind_box(*input, column)),
            Self::Not(input) => Expr::Not(bind_box(*input, column)),
            Self::Cast(cast, input) => Expr::Cast(cast, bind_box(*input, column)),
            Self::Logic(op, left, right) => Expr::Logic(op, bind_box(*left, column), bind_box(*right, column)),
            Self::Compare(op, left, right) => Expr::Compare(op, bind_box(*left, column), bind_box(*right, column)),
            Self::Arithmetic(op, left, right) => {
                Expr::Arithmetic(op, bind_box(*left, column), bind_box(*right, column))
            }
        }
    }
}

fn bind_all<C, D>(inputs: Vec<Expr<C>>, column: &mut impl FnMut(C) -> D) -> Vec<Expr<D>> {
    inputs.into_iter().map(|input| input.bind(column)).collect()
}

fn bind_box<C, D>(input: Expr<C>, column: &mut impl FnMut(C) -> D) -> Box<Expr<D>> {
    Box::new(input.bind(column))
}
