//! Tokens to an expression, by precedence climbing. Functions get their arguments checked here, so that computing never
//! meets a wrong one.

use super::error::ExprError;
use super::lex::{ExprToken, lex, unexpected};
use super::tree::{ArithmeticOp, Cast, CompareOp, Expr, LogicOp};
use super::value::ExprValue;
use crate::decimal::MAX_PRECISION;

impl Expr<String> {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let tokens = lex(text)?;
        let mut parser = ExprParser { text, tokens, at: 0 };
        let expression = parser.binary(0)?;
        match parser.next() {
            ExprToken::End => Ok(expression),
            other => Err(parser.unexpected("an operator or the end", &other)),
        }
    }
}

struct ExprParser<'t> {
    text: &'t str,
    tokens: Vec<ExprToken>,
    at: usize,
}

impl ExprParser<'_> {
    fn peek(&self) -> ExprToken {
        self.tokens.get(self.at).cloned().unwrap_or(ExprToken::End)
    }

    fn next(&mut self) -> ExprToken {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn take(&mut self, symbol: &'static str) -> bool {
        let found = self.peek() == ExprToken::Symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn unexpected(&self, expected: &'static str, found: &ExprToken) -> ExprError {
        let found = match found {
            ExprToken::Name(name) | ExprToken::Column(name) => format!("`{name}`"),
            ExprToken::Literal(value) => format!("`{value}`"),
            ExprToken::Symbol(symbol) => format!("`{symbol}`"),
            ExprToken::End => "the end".to_owned(),
        };
        unexpected(self.text, expected, found)
    }

    /// Operators that bind at least this strongly, and what they connect.
    fn binary(&mut self, least: u8) -> Result<Expr<String>, ExprError> {
        let mut left = self.unary()?;
        while let Some((op, strength)) = operator(&self.peek())
            && strength >= least
        {
            self.at += 1;
            let right = self.binary(strength + 1)?;
            left = op.connect(left, right);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr<String>, ExprError> {
        if self.peek() == ExprToken::Name("not".to_owned()) {
            self.at += 1;
            return Ok(Expr::Not(Box::new(self.binary(COMPARISON)?)));
        }
        if self.take("-") {
            let zero = Expr::Literal(ExprValue::Int(0));
            return Ok(Expr::Arithmetic(ArithmeticOp::Subtract, Box::new(zero), Box::new(self.unary()?)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr<String>, ExprError> {
        match self.next() {
            ExprToken::Literal(value) => Ok(Expr::Literal(value)),
            ExprToken::Column(column) => Ok(Expr::Column(column)),
            ExprToken::Symbol("(") => {
                let inner = self.binary(0)?;
                if self.take(")") {
                    return Ok(inner);
                }
                let found = self.peek();
                Err(self.unexpected("`)`", &found))
            }
            ExprToken::Name(name) => match name.as_str() {
                "null" => Ok(Expr::Literal(ExprValue::Null)),
                "true" | "false" => Ok(Expr::Literal(ExprValue::Bool(name == "true"))),
                "row" => Ok(Expr::RowNumber),
                _ if self.take("(") => self.call(&name),
                _ => Ok(Expr::Column(name)),
            },
            other => Err(self.unexpected("a column, a constant or a function", &other)),
        }
    }

    fn call(&mut self, name: &str) -> Result<Expr<String>, ExprError> {
        let mut inputs = Vec::new();
        while !self.take(")") {
            if !inputs.is_empty() && !self.take(",") {
                let found = self.peek();
                return Err(self.unexpected("`,` or `)`", &found));
            }
            inputs.push(self.binary(0)?);
        }
        function(name, inputs)
    }
}

/// Any operator between two expressions.
enum BinaryOp {
    Logic(LogicOp),
    Compare(CompareOp),
    Arithmetic(ArithmeticOp),
}

impl BinaryOp {
    fn connect(self, left: Expr<String>, right: Expr<String>) -> Expr<String> {
        let (left, right) = (Box::new(left), Box::new(right));
        match self {
            Self::Logic(op) => Expr::Logic(op, left, right),
            Self::Compare(op) => Expr::Compare(op, left, right),
            Self::Arithmetic(op) => Expr::Arithmetic(op, left, right),
        }
    }
}

const COMPARISON: u8 = 2;

/// The operator that a token is, and how strongly it binds.
fn operator(token: &ExprToken) -> Option<(BinaryOp, u8)> {
    let word = match token {
        ExprToken::Name(name) => name.as_str(),
        ExprToken::Symbol(symbol) => symbol,
        ExprToken::Column(_) | ExprToken::Literal(_) | ExprToken::End => return None,
    };
    Some(match word {
        "or" => (BinaryOp::Logic(LogicOp::Or), 0),
        "and" => (BinaryOp::Logic(LogicOp::And), 1),
        "=" => (BinaryOp::Compare(CompareOp::Equal), COMPARISON),
        "!=" => (BinaryOp::Compare(CompareOp::NotEqual), COMPARISON),
        "<" => (BinaryOp::Compare(CompareOp::Less), COMPARISON),
        "<=" => (BinaryOp::Compare(CompareOp::LessOrEqual), COMPARISON),
        ">" => (BinaryOp::Compare(CompareOp::Greater), COMPARISON),
        ">=" => (BinaryOp::Compare(CompareOp::GreaterOrEqual), COMPARISON),
        "+" => (BinaryOp::Arithmetic(ArithmeticOp::Add), 3),
        "-" => (BinaryOp::Arithmetic(ArithmeticOp::Subtract), 3),
        "*" => (BinaryOp::Arithmetic(ArithmeticOp::Multiply), 4),
        _ => return None,
    })
}

/// The function of that name over its arguments.
fn function(name: &str, mut inputs: Vec<Expr<String>>) -> Result<Expr<String>, ExprError> {
    match name {
        "concat" if inputs.is_empty() => Err(ExprError::Arguments("write concat(a, b, …)")),
        "concat" => Ok(Expr::Concat(inputs)),
        "coalesce" if inputs.is_empty() => Err(ExprError::Arguments("write coalesce(a, b, …)")),
        "coalesce" => Ok(Expr::Coalesce(inputs)),
        "is_null" => Ok(Expr::IsNull(Box::new(only(inputs, "write is_null(a)")?))),
        "int" => Ok(Expr::Cast(Cast::Int, Box::new(only(inputs, "write int(a)")?))),
        "text" => Ok(Expr::Cast(Cast::Text, Box::new(only(inputs, "write text(a)")?))),
        "decimal" => {
            let usage = "write decimal(a, 2); the digits after the point are a constant between 0 and 38";
            let scale = if inputs.len() == 2 { inputs.pop() } else { None };
            let scale = scale.and_then(scale_of).ok_or(ExprError::Arguments(usage))?;
            Ok(Expr::Cast(Cast::Decimal { scale }, Box::new(only(inputs, usage)?)))
        }
        "time" => {
            let usage = "write time(a) or time(a, '%d/%m/%Y %H:%M')";
            let format = match if inputs.len() == 2 { inputs.pop() } else { None } {
                None => None,
                Some(Expr::Literal(ExprValue::Text(format))) => Some(format),
                Some(_) => return Err(ExprError::Arguments(usage)),
            };
            Ok(Expr::Cast(Cast::Time { format }, Box::new(only(inputs, usage)?)))
        }
        _ => Err(ExprError::NoFunction(name.to_owned())),
    }
}

/// The one argument of a function that takes one.
fn only(inputs: Vec<Expr<String>>, usage: &'static str) -> Result<Expr<String>, ExprError> {
    let [input] = <[_; 1]>::try_from(inputs).map_err(|_| ExprError::Arguments(usage))?;
    Ok(input)
}

fn scale_of(input: Expr<String>) -> Option<u32> {
    let Expr::Literal(ExprValue::Int(scale)) = input else { return None };
    u32::try_from(scale).ok().filter(|scale| *scale <= u32::from(MAX_PRECISION))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expr<String>, ExprError> {
        Expr::parse(text)
    }

    fn column(name: &str) -> Expr<String> {
        Expr::Column(name.to_owned())
    }

    fn int(value: i64) -> Expr<String> {
        Expr::Literal(ExprValue::Int(value))
    }

    #[test]
    fn products_bind_tighter_than_sums_and_sums_than_comparisons() {
        let product = Expr::Arithmetic(ArithmeticOp::Multiply, Box::new(column("b")), Box::new(int(2)));
        let sum = Expr::Arithmetic(ArithmeticOp::Add, Box::new(column("a")), Box::new(product));
        let expected = Expr::Compare(CompareOp::Greater, Box::new(sum), Box::new(int(86_400_000)));
        assert_eq!(parse("a + b * 2 > 1d"), Ok(expected));
    }

    #[test]
    fn joined_and_quoted_columns_are_names() {
        assert_eq!(parse("products.department"), Ok(column("products.department")));
        assert_eq!(parse("`Customer ID`"), Ok(column("Customer ID")));
        assert_eq!(parse("`row`"), Ok(column("row")));
        assert_eq!(parse("row"), Ok(Expr::RowNumber));
    }

    #[test]
    fn casts_carry_their_constants() {
        let cast = |cast| Ok(Expr::Cast(cast, Box::new(column("a"))));
        assert_eq!(parse("decimal(a, 2)"), cast(Cast::Decimal { scale: 2 }));
        assert_eq!(parse("time(a)"), cast(Cast::Time { format: None }));
        assert_eq!(parse("time(a, '%Y')"), cast(Cast::Time { format: Some("%Y".to_owned()) }));
        for text in ["decimal(a)", "decimal(a, 39)", "decimal(a, -1)", "decimal(a, '2')", "decimal(a, 2, 3)", "time()"]
        {
            assert!(matches!(parse(text), Err(ExprError::Arguments(_))), "{text}");
        }
        for text in ["time(a, b)", "time(a, 'x', 'y')", "int()", "int(a, b)", "is_null()", "concat()", "coalesce()"] {
            assert!(matches!(parse(text), Err(ExprError::Arguments(_))), "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_is_expected() {
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
