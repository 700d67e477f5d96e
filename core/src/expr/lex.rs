//! The text of an expression as tokens. Their order is left to `parse`.

use super::error::ExprError;
use super::value::ExprValue;
use crate::decimal::Decimal;

/// The smallest part of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExprToken {
    /// A keyword, a function or a column.
    Name(String),
    /// A column in backquotes: never a keyword.
    Column(String),
    Literal(ExprValue),
    Symbol(&'static str),
    End,
}

/// Longer ones first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 12] = ["!=", "<=", ">=", "=", "<", ">", "+", "-", "*", "(", ")", ","];

/// A token and how many bytes of the text it takes.
type Lexed = (ExprToken, usize);

pub(super) fn lex(text: &str) -> Result<Vec<ExprToken>, ExprError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '0'..='9' => number(text, rest)?,
            '\'' | '`' => quoted(text, rest, first)?,
            _ if first.is_alphabetic() || first == '_' => name(rest),
            _ => symbol(text, rest, first)?,
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The error for a text that has something unexpected in it.
pub(super) fn unexpected(text: &str, expected: &'static str, found: impl Into<String>) -> ExprError {
    ExprError::Unexpected { expected, found: found.into(), text: text.to_owned() }
}

fn quoted(text: &str, rest: &str, quote: char) -> Result<Lexed, ExprError> {
    let inner = rest[1..].split(quote).next().unwrap_or_default();
    if rest.len() < inner.len() + 2 {
        return Err(unexpected(text, "a closing quote", "the end"));
    }
    let token = match quote {
        '`' => ExprToken::Column(inner.to_owned()),
        _ => ExprToken::Literal(ExprValue::Text(inner.to_owned())),
    };
    Ok((token, inner.len() + 2))
}

fn name(rest: &str) -> Lexed {
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
    (ExprToken::Name(rest[..length].to_owned()), length)
}

fn symbol(text: &str, rest: &str, first: char) -> Result<Lexed, ExprError> {
    let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
    let symbol = symbol.ok_or_else(|| unexpected(text, "a name, number or operator", format!("`{first}`")))?;
    Ok((ExprToken::Symbol(symbol), symbol.len()))
}

/// `12`, `1.50`, or a duration in ms such as `1d`.
fn number(text: &str, rest: &str) -> Result<Lexed, ExprError> {
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
        (Ok(whole), factor) => ExprValue::Int(whole.checked_mul(factor.unwrap_or(1)).ok_or_else(invalid)?),
        (Err(_), None) => ExprValue::Decimal(Decimal::parse(number).ok_or_else(invalid)?),
        (Err(_), Some(_)) => return Err(invalid()),
    };
    Ok((ExprToken::Literal(value), length))
}
