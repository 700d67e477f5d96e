//! A JSON object as a flat list of tokens that borrow from its text. The buffer is used again for each object. The
//! tokens of an accepted text mean what [`crate::json::parse`] makes of it. The rules for the content of an event are
//! left to `validate`.

mod scanner;
mod write;

use std::borrow::Cow;

use serde_json::Number;

use crate::json::{checked_float, is_integer, is_past_64_bits};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `null`. Below the top of the object it is left out, as if it were absent.
    Null,
    /// `true` or `false`.
    Bool,
    /// An integer whose text is canonical and fits 64 bits.
    Int,
    /// Any other number.
    Number,
    /// A string without escapes: the text between its quotes is its value.
    Plain,
    /// A string with escapes.
    Escaped,
    /// The tokens up to `end` are its elements.
    Array,
    /// The tokens up to `end` are its members.
    Object,
}

/// One value of the text.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// The name of the member whose value it is; empty elsewhere.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Its kind.
    pub kind: TokenKind,
    /// Index of the first token behind it that is not inside it.
    pub end: usize,
}

/// The tokens of one object at a time. The first token is the object itself.
#[derive(Debug, Default)]
pub struct Tokens<'a> {
    list: Vec<Token<'a>>,
    /// Names in the objects that are open now, to find a name that is given twice.
    names: Vec<&'a str>,
}

/// A token together with the list that it stands in.
#[derive(Clone, Copy, Debug)]
pub struct TokenNode<'t, 'a> {
    list: &'t [Token<'a>],
    at: usize,
}

impl<'t, 'a> TokenNode<'t, 'a> {
    /// The node of a value without parts, which needs no list.
    pub fn alone(token: &'t Token<'a>) -> Self {
        Self { list: std::slice::from_ref(token), at: 0 }
    }

    /// The token itself.
    pub fn token(self) -> &'t Token<'a> {
        &self.list[self.at]
    }

    /// Its index in the list.
    pub fn index(self) -> usize {
        self.at
    }

    /// The values directly inside, in the order of the text. A value that is neither array nor object has none.
    pub fn children(self) -> Children<'t, 'a> {
        Children { list: self.list, at: self.at + 1, end: self.token().end }
    }

    /// The member with this name.
    pub fn member(self, name: &str) -> Option<Self> {
        self.children().find(|child| child.token().name == name)
    }

    /// The value at this path of member names.
    pub fn at_path(self, path: &[String]) -> Option<Self> {
        path.iter().try_fold(self, |node, name| match node.token().kind {
            TokenKind::Object => node.member(name),
            TokenKind::Null
            | TokenKind::Bool
            | TokenKind::Int
            | TokenKind::Number
            | TokenKind::Plain
            | TokenKind::Escaped
            | TokenKind::Array => None,
        })
    }

    /// The value of a string; None for another kind.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let token = self.token();
        match token.kind {
            TokenKind::Plain => Some(Cow::Borrowed(&token.text[1..token.text.len() - 1])),
            TokenKind::Escaped => serde_json::from_str(token.text).ok(),
            TokenKind::Null
            | TokenKind::Bool
            | TokenKind::Int
            | TokenKind::Number
            | TokenKind::Array
            | TokenKind::Object => None,
        }
    }

    /// The value of a number; None for another kind.
    pub fn number(self) -> Option<Number> {
        let token = self.token();
        match token.kind {
            TokenKind::Int => token.text.parse::<i64>().ok().map(Number::from),
            TokenKind::Number => number(token.text),
            TokenKind::Null
            | TokenKind::Bool
            | TokenKind::Plain
            | TokenKind::Escaped
            | TokenKind::Array
            | TokenKind::Object => None,
        }
    }
}

/// The number that a text denotes, as [`crate::json::parse`] reads it; None where that refuses it.
fn number(text: &str) -> Option<Number> {
    let number: Number = serde_json::from_str(text).ok()?;
    if !number.is_f64() {
        return Some(number);
    }
    let value = number.as_f64()?;
    let loses_digits = is_past_64_bits(value) && is_integer(text);
    if loses_digits { None } else { checked_float(value).ok() }
}

/// The values directly inside one array or object, in the order of the text.
#[derive(Clone, Debug)]
pub struct Children<'t, 'a> {
    list: &'t [Token<'a>],
    at: usize,
    end: usize,
}

impl<'t, 'a> Iterator for Children<'t, 'a> {
    type Item = TokenNode<'t, 'a>;

    fn next(&mut self) -> Option<TokenNode<'t, 'a>> {
        if self.at >= self.end {
            return None;
        }
        let node = TokenNode { list: self.list, at: self.at };
        self.at = node.token().end;
        Some(node)
    }
}
