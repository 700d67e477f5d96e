//! The little of ClickHouse's SQL that this server must read: where an INSERT's data begins, which format a query names,
//! and which statements act on their session alone.
//!
//! The engine reads everything else: a statement that is not understood here goes to the engine unchanged.

use crate::error::QueryError;
use crate::token::{Kind, Token, Tokens};

/// An `INSERT … FORMAT X` or `INSERT … VALUES` whose data follows it in the request.
#[derive(Debug, PartialEq, Eq)]
pub struct InlineInsert {
    /// `INSERT INTO t (a, b)`
    target: String,
    /// `SETTINGS … FORMAT X`
    tail: String,
    /// Where the data begins in the text that was looked at.
    pub data_at: usize,
}

impl InlineInsert {
    /// Finds it; `None` for any other statement, also for `INSERT … SELECT` and `INSERT … FROM INFILE`.
    pub fn find(text: &[u8]) -> Option<Self> {
        let mut tokens = Tokens::new(text).peekable();
        tokens.next_if(|token| token.is_word("INSERT"))?;
        tokens.next_if(|token| token.is_word("INTO"));
        tokens.next_if(|token| token.is_word("TABLE"));
        let mut target_end = table(&mut tokens)?;
        if tokens.next_if(|token| token.kind == Kind::Punct(b'(')).is_some() {
            target_end = closing(&mut tokens)?;
        }
        if tokens.peek()?.is_word("SETTINGS") {
            while !is_data_word(tokens.peek()?) {
                tokens.next();
            }
        }
        Self::split(text, target_end, tokens.next()?, tokens.next())
    }

    fn split(text: &[u8], target_end: usize, word: Token<'_>, next: Option<Token<'_>>) -> Option<Self> {
        let settings = String::from_utf8_lossy(text.get(target_end..word.start)?);
        let (format, end) = match next {
            _ if word.is_word("VALUES") => ("Values".to_owned(), word.end),
            Some(name) if word.is_word("FORMAT") && name.kind == Kind::Word => (name.text_lossy(), name.end),
            _ => return None,
        };
        let target = String::from_utf8_lossy(&text[..target_end]).into_owned();
        let tail = format!("{} FORMAT {format}", settings.trim());
        Some(Self { target, tail, data_at: data_start(text, end) })
    }

    /// The same INSERT, reading its data from a file: the engine cuts inline data at a blank line.
    pub fn from_file(&self, path: &str) -> String {
        let path = quote(path);
        format!("{} FROM INFILE {path} COMPRESSION 'none' {}", self.target, self.tail)
    }
}

/// Refuses two statements in one request, as ClickHouse does over HTTP.
pub fn check_single(text: &[u8]) -> Result<(), QueryError> {
    let mut tokens = Tokens::new(text).skip_while(|token| token.kind != Kind::Punct(b';'));
    match tokens.find(|token| token.kind != Kind::Punct(b';')) {
        Some(token) => Err(QueryError::syntax(format!(
            "failed at position {} ({}): Multi-statements are not allowed",
            token.start + 1,
            token.text_lossy(),
        ))),
        None => Ok(()),
    }
}

/// Refuses a statement that acts only on its session. This server keeps nothing between requests, so the next request of
/// the session would not find the setting, the database or the table.
pub fn check_sessionless(text: &[u8]) -> Result<(), QueryError> {
    let mut tokens = Tokens::new(text);
    let first = tokens.next();
    let starts_with = |word: &str| first.is_some_and(|token| token.is_word(word));
    let what = if starts_with("SET") {
        "SET"
    } else if starts_with("USE") {
        "USE"
    } else if starts_with("CREATE") && tokens.take(3).any(|token| token.is_word("TEMPORARY")) {
        "CREATE TEMPORARY TABLE"
    } else {
        return Ok(());
    };
    Err(QueryError::not_implemented(format!(
        "{what} has no effect here: chdb-http keeps no sessions between requests; send settings and the database with each \
         request, and use an ordinary table"
    )))
}

/// The format that a query names with `FORMAT`, if it does.
pub fn output_format(text: &[u8]) -> Option<String> {
    let tokens: Vec<Token<'_>> = Tokens::new(text).collect();

    tokens.windows(2).enumerate().rev().find_map(|(index, pair)| {
        let ends =
            tokens.get(index + 2).is_none_or(|token| token.is_word("SETTINGS") || token.kind == Kind::Punct(b';'));
        (ends && pair[0].is_word("FORMAT") && pair[1].kind == Kind::Word).then(|| pair[1].text_lossy())
    })
}

/// A string literal.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A quoted name.
pub fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

type Peekable<'a> = std::iter::Peekable<Tokens<'a>>;

/// `name`, `database.name` or `FUNCTION name(…)`; returns its end.
fn table(tokens: &mut Peekable<'_>) -> Option<usize> {
    let mut name = tokens.next_if(Token::is_name)?;
    if name.is_word("FUNCTION") && tokens.peek()?.is_name() {
        tokens.next();
        tokens.next_if(|token| token.kind == Kind::Punct(b'('))?;
        return closing(tokens);
    }
    while tokens.next_if(|token| token.kind == Kind::Punct(b'.')).is_some() {
        name = tokens.next_if(Token::is_name)?;
    }
    Some(name.end)
}

/// Skips to the parenthesis that closes the one just read; returns its end.
fn closing(tokens: &mut Peekable<'_>) -> Option<usize> {
    let mut depth = 1;
    for token in tokens.by_ref() {
        match token.kind {
            Kind::Punct(b'(') => depth += 1,
            Kind::Punct(b')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(token.end);
        }
    }
    None
}

fn is_data_word(token: &Token<'_>) -> bool {
    ["FORMAT", "VALUES", "SELECT", "WITH", "FROM"].iter().any(|word| token.is_word(word))
}

/// Data begins after blanks, at most one semicolon, and one line break.
fn data_start(text: &[u8], end: usize) -> usize {
    let blanks = |at: usize| at + text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\x0c')).count();
    let byte = |at: usize| text.get(at).copied();
    let mut at = blanks(end);
    if byte(at) == Some(b';') {
        at = blanks(at + 1);
    }
    if byte(at) == Some(b'\r') {
        at += 1;
    }
    if byte(at) == Some(b'\n') {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> (String, &str) {
        let insert = InlineInsert::find(text.as_bytes()).unwrap();
        (insert.from_file("/f"), &text[insert.data_at..])
    }

    #[test]
    fn an_insert_reads_its_data_from_a_file() {
        let (sql, data) = rewritten("INSERT INTO db.`a b`(`x)`, y) FORMAT RowBinary\n\n\nrest");
        assert_eq!(sql, "INSERT INTO db.`a b`(`x)`, y) FROM INFILE '/f' COMPRESSION 'none'  FORMAT RowBinary");
        assert_eq!(data, "\n\nrest");
    }

    #[test]
    fn settings_stay_before_the_format() {
        let (sql, data) = rewritten("insert into t settings a='FORMAT x', b=1 format JSONEachRow {\"a\":1}");
        assert_eq!(
            sql,
            "insert into t FROM INFILE '/f' COMPRESSION 'none' settings a='FORMAT x', b=1 FORMAT JSONEachRow"
        );
        assert_eq!(data, "{\"a\":1}");
    }

    #[test]
    fn values_are_a_format_too() {
        let (sql, data) = rewritten("-- note\nINSERT INTO TABLE FUNCTION null('a Int') VALUES (1), (2)");
        assert!(sql.ends_with("null('a Int') FROM INFILE '/f' COMPRESSION 'none'  FORMAT Values"), "{sql}");
        assert_eq!(data, "(1), (2)");
    }

    #[test]
    fn other_statements_are_left_alone() {
        for text in [
            "SELECT 1 FORMAT JSON",
            "INSERT INTO t SELECT 1",
            "INSERT INTO t (a) SETTINGS x=1 SELECT 1 FORMAT Null",
            "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
            "INSERT INTO t (a",
            "",
        ] {
            assert_eq!(InlineInsert::find(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn two_statements_are_refused_and_a_closing_semicolon_is_not() {
        assert!(check_single(b"SELECT ';' ; -- done\n").is_ok());
        assert_eq!(check_single(b"SELECT 1; SELECT 2").unwrap_err().code, 62);
    }

    #[test]
    fn a_statement_that_acts_on_its_session_alone_is_refused_and_others_are_not() {
        for lost in ["SET max_threads = 1", "-- x\nuse other", "CREATE OR REPLACE TEMPORARY TABLE t (a Int8)"] {
            assert_eq!(check_sessionless(lost.as_bytes()).unwrap_err().code, 48, "{lost}");
        }
        for kept in ["SELECT 1", "CREATE TABLE t (temporary Int8) ENGINE = Memory", "", "INSERT INTO t VALUES (1)"] {
            assert!(check_sessionless(kept.as_bytes()).is_ok(), "{kept}");
        }
    }

    #[test]
    fn the_format_is_the_last_clause() {
        assert_eq!(output_format(b"SELECT 1 FORMAT JSON SETTINGS a=1").as_deref(), Some("JSON"));
        assert_eq!(output_format(b"SELECT format FROM t"), None);
        assert_eq!(output_format(b"SELECT 'FORMAT JSON'"), None);
    }
}
