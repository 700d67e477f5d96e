//! A small, safe expression language over the columns of a row: constants, exact arithmetic, comparisons, casts and null
//! handling. It reads only the row that it is given. The meaning of columns is left to its users; `millrace replay`
//! computes the fields of events with it.

mod arithmetic;
mod cast;
mod error;
mod eval;
mod lex;
mod parse;
mod tree;
mod value;

pub use error::{EvalError, ExprError};
pub use eval::ExprRow;
pub use tree::{ArithmeticOp, Cast, CompareOp, Expr, LogicOp};
pub use value::ExprValue;
