//! A small expression language over one row of a file. It has constants, the row's columns and number, exact addition,
//! subtraction and multiplication, comparisons, `and`, `or` and `not`, joining of texts, casts, and null handling as in SQL.
//! An expression can read nothing but its row. The mappings of `millrace replay` compute the fields of events with it.
//! Reading the file and finding its columns are left to `replay`.

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
