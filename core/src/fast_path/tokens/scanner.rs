//! Makes the tokens of a JSON object in one pass over its text. None never means that the text is wrong: it means that the
//! strict parser ([`crate::json::parse`]) must decide, and word the error. The scanner returns None for each text that the
//! strict parser refuses, and for some that it accepts.

use std::borrow::Cow;

use super::{Token, TokenKind, TokenNode, Tokens, number};

/// The deepest nesting that the fast path follows.
const MAX_DEPTH: u32 = 64;
/// An integer with at most this number of digits fits 64 bits, so it need not be parsed to be checked.
const PLAIN_DIGITS: usize = 18;

impl<'a> Tokens<'a> {
    /// Makes the tokens of a text that is one object, in place of those of the object before. Returns None when only the
    /// strict path can judge the text.
    pub fn read(&mut self, text: &'a str) -> Option<TokenNode<'_, 'a>> {
        let end = self.scan(text)?;
        let only_spaces_follow = text.as_bytes()[end..].iter().all(is_space);
        only_spaces_follow.then_some(TokenNode { list: &self.list, at: 0 })
    }

    /// As [`Tokens::read`], for a text that begins with an object. Returns the tokens, and the number of bytes up to the end
    /// of the object.
    pub fn read_first(&mut self, text: &'a str) -> Option<(TokenNode<'_, 'a>, usize)> {
        let end = self.scan(text)?;
        Some((TokenNode { list: &self.list, at: 0 }, end))
    }

    /// Makes the tokens of the object that `text` begins with. Returns the index of the byte after it.
    fn scan(&mut self, text: &'a str) -> Option<usize> {
        self.list.clear();
        self.names.clear();
        let mut scanner = Scanner { tokens: self, text, bytes: text.as_bytes(), at: 0 };
        scanner.spaces();
        if scanner.bytes.get(scanner.at) != Some(&b'{') {
            return None;
        }
        scanner.value("", 0)?;
        Some(scanner.at)
    }
}

/// The state of one pass. The methods read what stands at `at` and move `at` behind it. None ends the pass.
struct Scanner<'p, 'a> {
    tokens: &'p mut Tokens<'a>,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'_, 'a> {
    fn value(&mut self, name: &'a str, depth: u32) -> Option<()> {
        // A token stands before the tokens inside it, so its place is taken first and filled last.
        let (start, index) = (self.at, self.tokens.list.len());
        self.tokens.list.push(Token { name, text: "", kind: TokenKind::Null, end: 0 });
        let kind = match *self.bytes.get(self.at)? {
            b'"' => self.string()?,
            b'{' => self.object(depth + 1)?,
            b'[' => self.array(depth + 1)?,
            b't' => self.word("true", TokenKind::Bool)?,
            b'f' => self.word("false", TokenKind::Bool)?,
            b'n' => self.word("null", TokenKind::Null)?,
            _ => self.number()?,
        };
        let end = self.tokens.list.len();
        self.tokens.list[index] = Token { name, text: &self.text[start..self.at], kind, end };
        Some(())
    }

    fn object(&mut self, depth: u32) -> Option<TokenKind> {
        let first_name = self.tokens.names.len();
        if self.opens(b'}', depth)? {
            return Some(TokenKind::Object);
        }
        loop {
            self.member(depth)?;
            if self.closes(b'}')? {
                break;
            }
        }
        self.close_names(first_name).then_some(TokenKind::Object)
    }

    fn member(&mut self, depth: u32) -> Option<()> {
        self.spaces();
        let name_at = self.at;
        // A name with escapes is left to the strict path.
        if self.bytes.get(self.at) != Some(&b'"') || self.string()? != TokenKind::Plain {
            return None;
        }
        // The strict path refuses an empty name and a name with a dot.
        let name = &self.text[name_at + 1..self.at - 1];
        if name.is_empty() || name.contains('.') {
            return None;
        }
        self.tokens.names.push(name);
        self.spaces();
        self.byte(b':')?;
        self.spaces();
        let index = self.tokens.list.len();
        self.value(name, depth)?;
        // A null is the same as an absent value. But `validate` looks at the names of an event's own fields, which are at
        // depth 1, so their tokens stay.
        if depth > 1 && self.tokens.list[index].kind == TokenKind::Null {
            self.tokens.list.truncate(index);
        }
        Some(())
    }

    /// Removes the names of an object that has ended. Returns false where two of them are equal.
    fn close_names(&mut self, first_name: usize) -> bool {
        let names = &mut self.tokens.names[first_name..];
        let differ = names.is_sorted_by(|a, b| a < b) || {
            names.sort_unstable();
            names.windows(2).all(|pair| pair[0] != pair[1])
        };
        self.tokens.names.truncate(first_name);
        differ
    }

    fn array(&mut self, depth: u32) -> Option<TokenKind> {
        if self.opens(b']', depth)? {
            return Some(TokenKind::Array);
        }
        loop {
            self.spaces();
            self.value("", depth)?;
            if self.closes(b']')? {
                return Some(TokenKind::Array);
            }
        }
    }

    /// Goes past the opening bracket of an array or object. Returns whether it is empty; then also goes past `close`.
    fn opens(&mut self, close: u8, depth: u32) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.spaces();
        let empty = *self.bytes.get(self.at)? == close;
        self.at += usize::from(empty);
        Some(empty)
    }

    /// Goes past the comma or `close` that follows an element. Returns whether the element was the last one.
    fn closes(&mut self, close: u8) -> Option<bool> {
        self.spaces();
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == close { Some(true) } else { (byte == b',').then_some(false) }
    }

    fn string(&mut self) -> Option<TokenKind> {
        let start = self.at;
        self.at += 1;
        let mut kind = TokenKind::Plain;
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => {
                    kind = TokenKind::Escaped;
                    self.at += 2;
                }
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        // serde_json checks the escapes and the surrogate pairs.
        if kind == TokenKind::Escaped && serde_json::from_str::<Cow<'_, str>>(self.text.get(start..self.at)?).is_err() {
            return None;
        }
        Some(kind)
    }

    fn number(&mut self) -> Option<TokenKind> {
        let start = self.at;
        self.at += usize::from(self.bytes[self.at] == b'-');
        let digits = self.digits()?;
        if digits > 1 && self.bytes[self.at - digits] == b'0' {
            return None;
        }
        let mut kind = if digits <= PLAIN_DIGITS { TokenKind::Int } else { TokenKind::Number };
        // Whether the strict parser certainly accepts the number. Otherwise it is parsed below, as the strict parser does.
        let mut certain = kind == TokenKind::Int;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
            kind = TokenKind::Number;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
            (kind, certain) = (TokenKind::Number, false);
        }
        let text = &self.text[start..self.at];
        // Not canonical: its value is written `0`.
        if text == "-0" {
            return Some(TokenKind::Number);
        }
        (certain || number(text).is_some()).then_some(kind)
    }

    /// Returns the number of digits, at least one.
    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    fn word(&mut self, word: &str, kind: TokenKind) -> Option<TokenKind> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            kind
        })
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        let found = *self.bytes.get(self.at)? == wanted;
        self.at += 1;
        found.then_some(())
    }

    fn spaces(&mut self) {
        while self.bytes.get(self.at).is_some_and(is_space) {
            self.at += 1;
        }
    }
}

/// Whether JSON counts the byte as white space.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}
