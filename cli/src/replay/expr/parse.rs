//! Text to expression: a lexer and precedence climbing. Arguments that must be constants are checked here, so that
//! evaluating never meets a wrong shape.

use super::{Expr, Function, Op};
use crate::replay::value::{Decimal, MAX_DIGITS, Value};

/// Why a text is no expression.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseError {
    /// Something stands where something else should.
    #[error("expected {expected}, found {found} in `{text}`")]
    Unexpected {
        /// What would be right.
        expected: &'static str,
        /// What is there.
        found: String,
        /// The whole expression.
        text: String,
    },
    /// A name before `(` that is no function.
    #[error("no function `{0}`; there is concat, coalesce, is_null, int, decimal, text, time")]
    NoFunction(String),
    /// A function with the wrong arguments.
    #[error("{0}")]
    Arguments(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    /// A column in backquotes: never a keyword.
    Column(String),
    Literal(Value),
    Symbol(&'static str),
    End,
}

/// Longer ones first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 12] = ["!=", "<=", ">=", "=", "<", ">", "+", "-", "*", "(", ")", ","];

pub(super) fn parse(text: &str) -> Result<Expr<String>, ParseError> {
    let tokens = lex(text)?;
    let mut parser = Parser { text, tokens, at: 0 };
    let expression = parser.binary(0)?;
    match parser.next() {
        Token::End => Ok(expression),
        other => Err(parser.unexpected("an operator or the end", &other)),
    }
}

fn unexpected(text: &str, expected: &'static str, found: impl Into<String>) -> ParseError {
    ParseError::Unexpected { expected, found: found.into(), text: text.to_owned() }
}

fn lex(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if first.is_ascii_digit() {
            number(text, rest)?
        } else if first == '\'' || first == '`' {
            let inner = rest[1..].split(first).next().unwrap_or_default();
            if rest.len() < inner.len() + 2 {
                return Err(unexpected(text, "a closing quote", "the end"));
            }
            let token = match first {
                '\'' => Token::Literal(Value::Text(inner.to_owned())),
                _ => Token::Column(inner.to_owned()),
            };
            (token, inner.len() + 2)
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
            (Token::Name(rest[..length].to_owned()), length)
        } else {
            let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
            let symbol = symbol.ok_or_else(|| unexpected(text, "a name, number or operator", format!("`{first}`")))?;
            (Token::Symbol(symbol), symbol.len())
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// `12`, `1.50`, or a duration in ms such as `1d`.
fn number(text: &str, rest: &str) -> Result<(Token, usize), ParseError> {
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let unit = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
    let (number, unit, length) = (&rest[..digits], &rest[digits..digits + unit], digits + unit);
    let invalid = || unexpected(text, "a number such as 2, 0.25 or 1d", format!("`{number}{unit}`"));
    let factor: Option<i64> = match unit {
        "" => None,
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => return Err(invalid()),
    };
    let value = match (number.parse::<i64>(), factor) {
        (Ok(whole), factor) => Value::Int(whole.checked_mul(factor.unwrap_or(1)).ok_or_else(invalid)?),
        (Err(_), None) => Value::Decimal(Decimal::parse(number).map_err(|_| invalid())?),
        (Err(_), Some(_)) => return Err(invalid()),
    };
    Ok((Token::Literal(value), length))
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Token {
        self.tokens.get(self.at).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn take(&mut self, symbol: &'static str) -> bool {
        let found = self.peek() == Token::Symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn unexpected(&self, expected: &'static str, found: &Token) -> ParseError {
        let found = match found {
            Token::Name(name) | Token::Column(name) => format!("`{name}`"),
            Token::Literal(value) => format!("`{value}`"),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        };
        unexpected(self.text, expected, found)
    }

    fn binary(&mut self, least: u8) -> Result<Expr<String>, ParseError> {
        let mut left = self.unary()?;
        while let Some((op, strength)) = operator(&self.peek())
            && strength >= least
        {
            self.at += 1;
            let right = self.binary(strength + 1)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr<String>, ParseError> {
        if self.peek() == Token::Name("not".to_owned()) {
            self.at += 1;
            return Ok(Expr::Not(Box::new(self.binary(COMPARISON)?)));
        }
        if self.take("-") {
            let zero = Box::new(Expr::Literal(Value::Int(0)));
            return Ok(Expr::Binary(Op::Subtract, zero, Box::new(self.unary()?)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr<String>, ParseError> {
        match self.next() {
            Token::Literal(value) => Ok(Expr::Literal(value)),
            Token::Column(column) => Ok(Expr::Column(column)),
            Token::Symbol("(") => {
                let inner = self.binary(0)?;
                if self.take(")") {
                    return Ok(inner);
                }
                let found = self.peek();
                Err(self.unexpected("`)`", &found))
            }
            Token::Name(name) => match name.as_str() {
                "null" => Ok(Expr::Literal(Value::Null)),
                "true" | "false" => Ok(Expr::Literal(Value::Bool(name == "true"))),
                "row" => Ok(Expr::Row),
                _ if self.take("(") => self.call(&name),
                _ => Ok(Expr::Column(name)),
            },
            other => Err(self.unexpected("a column, a constant or a function", &other)),
        }
    }

    fn call(&mut self, name: &str) -> Result<Expr<String>, ParseError> {
        let mut inputs = Vec::new();
        while !self.take(")") {
            if !inputs.is_empty() && !self.take(",") {
                let found = self.peek();
                return Err(self.unexpected("`,` or `)`", &found));
            }
            inputs.push(self.binary(0)?);
        }
        let function = function(name)?;
        check_arguments(function, &inputs)?;
        Ok(Expr::Call(function, inputs))
    }
}

const COMPARISON: u8 = 2;

fn operator(token: &Token) -> Option<(Op, u8)> {
    Some(match token {
        Token::Name(name) if name == "or" => (Op::Or, 0),
        Token::Name(name) if name == "and" => (Op::And, 1),
        Token::Symbol("=") => (Op::Equal, COMPARISON),
        Token::Symbol("!=") => (Op::NotEqual, COMPARISON),
        Token::Symbol("<") => (Op::Less, COMPARISON),
        Token::Symbol("<=") => (Op::LessOrEqual, COMPARISON),
        Token::Symbol(">") => (Op::Greater, COMPARISON),
        Token::Symbol(">=") => (Op::GreaterOrEqual, COMPARISON),
        Token::Symbol("+") => (Op::Add, 3),
        Token::Symbol("-") => (Op::Subtract, 3),
        Token::Symbol("*") => (Op::Multiply, 4),
        _ => return None,
    })
}

fn function(name: &str) -> Result<Function, ParseError> {
    Ok(match name {
        "concat" => Function::Concat,
        "coalesce" => Function::Coalesce,
        "is_null" => Function::IsNull,
        "int" => Function::Int,
        "decimal" => Function::Decimal,
        "text" => Function::Text,
        "time" => Function::Time,
        _ => return Err(ParseError::NoFunction(name.to_owned())),
    })
}

fn check_arguments(function: Function, inputs: &[Expr<String>]) -> Result<(), ParseError> {
    let max_scale = i64::from(MAX_DIGITS);
    let (fits, usage) = match (function, inputs) {
        (Function::Concat, inputs) => (!inputs.is_empty(), "write concat(a, b, …)"),
        (Function::Coalesce, inputs) => (!inputs.is_empty(), "write coalesce(a, b, …)"),
        (Function::IsNull, inputs) => (inputs.len() == 1, "write is_null(a)"),
        (Function::Int, inputs) => (inputs.len() == 1, "write int(a)"),
        (Function::Text, inputs) => (inputs.len() == 1, "write text(a)"),
        (Function::Decimal, inputs) => {
            let scale = matches!(inputs, [_, Expr::Literal(Value::Int(scale))] if (0..=max_scale).contains(scale));
            (scale, "write decimal(a, 2); the digits after the point are a constant between 0 and 38")
        }
        (Function::Time, inputs) => {
            let fits = matches!(inputs, [_] | [_, Expr::Literal(Value::Text(_))]);
            (fits, "write time(a) or time(a, '%d/%m/%Y %H:%M')")
        }
    };
    if fits { Ok(()) } else { Err(ParseError::Arguments(usage)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> Expr<String> {
        Expr::Column(name.to_owned())
    }

    #[test]
    fn products_bind_tighter_than_sums_and_sums_than_comparisons() {
        let expected = Expr::Binary(
            Op::Greater,
            Box::new(Expr::Binary(
                Op::Add,
                Box::new(column("a")),
                Box::new(Expr::Binary(Op::Multiply, Box::new(column("b")), Box::new(Expr::Literal(Value::Int(2))))),
            )),
            Box::new(Expr::Literal(Value::Int(86_400_000))),
        );
        assert_eq!(parse("a + b * 2 > 1d"), Ok(expected));
    }

    #[test]
    fn joined_and_quoted_columns_are_names() {
        assert_eq!(parse("products.department"), Ok(column("products.department")));
        assert_eq!(parse("`Customer ID`"), Ok(column("Customer ID")));
        assert_eq!(parse("`row`"), Ok(column("row")));
        assert_eq!(parse("row"), Ok(Expr::Row));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert_eq!(message("a +"), "expected a column, a constant or a function, found the end in `a +`");
        assert_eq!(message("a b"), "expected an operator or the end, found `b` in `a b`");
        assert!(message("upper(a)").starts_with("no function `upper`; there is concat"));
        assert!(message("decimal(a, b)").starts_with("write decimal(a, 2)"));
        assert!(message("'open").contains("a closing quote"));
        assert!(message("2x").contains("a number such as"));
        assert!(message("a ; b").contains("`;`"));
    }
}
