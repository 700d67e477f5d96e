//! The small, safe expressions of a mapping: columns, constants, exact arithmetic, casts and null handling. Parsing is
//! `parse`'s, computing is `eval`'s.

mod eval;
mod parse;

pub use eval::{EvalError, RowView};
pub use parse::ParseError;

use super::value::Value;

/// Where a bound column is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the row's own columns.
    Own(usize),
    /// In a joined table: which one, and which of its columns.
    Joined(usize, usize),
}

/// A checked expression; `C` names columns: by their text when parsed, by their [`Place`] when bound.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr<C> {
    /// A constant.
    Literal(Value),
    /// A column.
    Column(C),
    /// The number of the row in its file, from 1.
    Row,
    /// A function of other values.
    Call(Function, Vec<Expr<C>>),
    /// `a op b`.
    Binary(Op, Box<Expr<C>>, Box<Expr<C>>),
    /// `not a`.
    Not(Box<Expr<C>>),
}

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Texts put together; null if one is.
    Concat,
    /// The first that is not null.
    Coalesce,
    /// Whether it is null.
    IsNull,
    /// As a whole number; what has a fraction is an error.
    Int,
    /// As a decimal with so many digits after the point, halves away from zero.
    Decimal,
    /// As text.
    Text,
    /// As a time: from a time, epoch milliseconds, or text, whose format may be given.
    Time,
}

/// The operators; their names say what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
}

impl Expr<String> {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text)
    }
}

impl<C> Expr<C> {
    /// The same with every column replaced, or the first error.
    pub fn bind<D, E>(self, place: &mut impl FnMut(C) -> Result<D, E>) -> Result<Expr<D>, E> {
        Ok(match self {
            Self::Literal(value) => Expr::Literal(value),
            Self::Column(column) => Expr::Column(place(column)?),
            Self::Row => Expr::Row,
            Self::Call(function, inputs) => {
                Expr::Call(function, inputs.into_iter().map(|input| input.bind(place)).collect::<Result<_, E>>()?)
            }
            Self::Binary(op, left, right) => {
                Expr::Binary(op, Box::new(left.bind(place)?), Box::new(right.bind(place)?))
            }
            Self::Not(inner) => Expr::Not(Box::new(inner.bind(place)?)),
        })
    }
}
