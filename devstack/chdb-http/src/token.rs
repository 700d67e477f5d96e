//! ClickHouse's tokens: words, quoted names, literals and punctuation, without blanks and comments.
//!
//! It works on bytes, because the data of an INSERT need not be text. The meaning of tokens is left to [`crate::sql`].

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A keyword, a bare name or a number.
    Word,
    /// A name in backticks or double quotes.
    QuotedName,
    /// A string in single quotes or dollar quotes.
    Text,
    /// Any other byte.
    Punct(u8),
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
    text: &'a [u8],
}

/// The tokens of a text.
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl Token<'_> {
    /// Whether it is this keyword, in any case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether it can name a table.
    pub fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::QuotedName)
    }

    /// Its text.
    pub fn text_lossy(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }
}

impl<'a> Tokens<'a> {
    /// Begins at the start of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            let rest = self.rest();
            let length = match rest {
                [byte, ..] if byte.is_ascii_whitespace() => 1,
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => line_length(rest),
                [b'/', b'*', ..] => find(&rest[2..], b"*/").map_or(rest.len(), |at| at + 4),
                _ => return,
            };
            self.at += length;
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks_and_comments();
        let rest = self.rest();
        let (kind, length) = match *rest.first()? {
            b'\'' => (Kind::Text, quoted_length(rest)),
            b'`' | b'"' => (Kind::QuotedName, quoted_length(rest)),
            b'$' => dollar_quoted(rest),
            byte if is_word_byte(byte) => (Kind::Word, word_length(rest)),
            byte => (Kind::Punct(byte), 1),
        };
        let start = self.at;
        self.at += length;
        Some(Token { kind, start, end: self.at, text: &rest[..length] })
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word_length(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| is_word_byte(**byte)).count()
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1)
}

/// A quoted text with its quotes; a backslash or the quote itself escapes.
fn quoted_length(rest: &[u8]) -> usize {
    let quote = rest[0];
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote && rest.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `$tag$ … $tag$`
fn dollar_quoted(rest: &[u8]) -> (Kind, usize) {
    let tag = 1 + word_length(&rest[1..]);
    if rest.get(tag) != Some(&b'$') {
        return (Kind::Punct(b'$'), 1);
    }
    let opening = &rest[..=tag];
    let body = &rest[opening.len()..];
    match find(body, opening) {
        Some(at) => (Kind::Text, at + 2 * opening.len()),
        None => (Kind::Text, rest.len()),
    }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        Tokens::new(sql.as_bytes()).map(|token| token.text_lossy()).collect()
    }

    #[test]
    fn comments_and_blanks_are_not_tokens() {
        assert_eq!(texts("a -- b\n/* c */ d # e\n!"), ["a", "d", "!"]);
        assert_eq!(texts("a /* open"), ["a"]);
    }

    #[test]
    fn quotes_hold_together() {
        assert_eq!(texts(r"'it''s;' `a``b` 'c\'d' $x$;'$x$ $"), ["'it''s;'", "`a``b`", r"'c\'d'", "$x$;'$x$", "$"]);
        assert_eq!(texts("'open"), ["'open"]);
        assert_eq!(texts("'open\\"), ["'open\\"]);
    }
}
