//! Checks the text of a batch view's query without ClickHouse. A run puts parentheses around the query, so the query must
//! be one SELECT that cannot close them, and it must not ask for parameters that a run does not give. ClickHouse checks the
//! rest: the syntax when the definitions are applied, tables and columns when the query runs.

/// The parameters that a run gives a query: the name, and how a query writes it. Only the name is checked.
const PARAMETERS: [(&str, &str); 1] = [("as_of", "{as_of:DateTime64(3, 'UTC')}")];

/// Returns an error if the text is not one SELECT, or cannot run.
pub(super) fn check_query(query: &str) -> Result<(), String> {
    let tokens = tokens(query)?;
    let first = tokens.iter().find(|token| **token != Token::Other('('));
    if !first.is_some_and(|token| token.is("SELECT") || token.is("WITH")) {
        return Err("`query` is one SELECT; begin it with SELECT or WITH".to_owned());
    }
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        let rest = &tokens[at + 1..];
        match token {
            Token::Other('(') => depth += 1,
            Token::Other(')') => {
                depth = depth.checked_sub(1).ok_or("`query` closes a parenthesis that it did not open")?
            }
            Token::Other(';') => return Err("`query` is one SELECT, without `;`".to_owned()),
            Token::Other('{') => parameter(rest)?,
            Token::Word(_) if depth == 0 && names_output(token, rest) => {
                return Err(
                    "where the answer goes is not for `query` to say; leave out FORMAT and INTO OUTFILE".to_owned()
                );
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err("`query` does not close all of its parentheses".to_owned());
    }
    Ok(())
}

/// Checks the text after a `{`. `{name:Type}` is a parameter, whose name must be known; other braces are a map literal.
fn parameter(rest: &[Token<'_>]) -> Result<(), String> {
    let [Token::Word(name), Token::Other(':'), ..] = rest else { return Ok(()) };
    let is_literal = name.starts_with(|c: char| c.is_ascii_digit());
    if is_literal || PARAMETERS.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let known: Vec<&str> = PARAMETERS.iter().map(|(_, written)| *written).collect();
    Err(format!("`query` has no parameter `{name}`; there is {}", known.join(", ")))
}

/// Whether a clause begins at this word that sends the rows elsewhere or in another format: INTO OUTFILE or FORMAT.
fn names_output(token: &Token<'_>, rest: &[Token<'_>]) -> bool {
    match rest {
        [next, ..] if token.is("INTO") => next.is("OUTFILE"),
        [Token::Word(_)] => token.is("FORMAT"),
        [Token::Word(_), after, ..] => token.is("FORMAT") && after.is("SETTINGS"),
        _ => false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'q> {
    /// A keyword, a bare name or a number.
    Word(&'q str),
    /// A string, or a name in quotes. Its text does not matter.
    Quoted,
    /// Any other character.
    Other(char),
}

impl Token<'_> {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Splits a query into tokens as ClickHouse's `Lexer.cpp` does, without blanks and comments. Refuses characters and comments
/// that versions of ClickHouse read differently, because they could hide a parenthesis.
fn tokens(query: &str) -> Result<Vec<Token<'_>>, String> {
    let (mut tokens, mut rest) = (Vec::new(), query);
    while let Some(first) = rest.chars().next() {
        let open = |what: &str| format!("`query` does not end {what} that it begins");
        let length = match first {
            _ if first.is_whitespace() => first.len_utf8(),
            _ if rest.starts_with("--") || rest.starts_with("# ") || rest.starts_with("#!") => {
                rest.find('\n').unwrap_or(rest.len())
            }
            _ if rest.starts_with("/*") => {
                let (comment, _) = rest[2..].split_once("*/").ok_or_else(|| open("a comment"))?;
                if comment.contains("/*") {
                    return Err("`query` has a comment in a comment".to_owned());
                }
                comment.len() + 4
            }
            '\'' | '"' | '`' => {
                tokens.push(Token::Quoted);
                quoted(rest, first).ok_or_else(|| open(&format!("a text in {first}")))?
            }
            '\\' | '\0' | '$' | '‘' | '’' | '“' | '”' => {
                return Err(format!("`query` has {first:?} outside of a text in ' or a name in `"));
            }
            _ if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(&rest[..length]));
                length
            }
            _ => {
                tokens.push(Token::Other(first));
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of a quoted text with its quotes, in bytes; None if it does not end. Inside it, a backslash escapes the next
/// character, and two quotes stand for one.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' || (c == quote && chars.peek().is_some_and(|(_, next)| *next == quote)) {
            chars.next()?;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_select_is_taken_however_it_is_written() {
        for query in [
            "select 1",
            "WITH t AS (SELECT 1 AS a) SELECT a FROM t",
            "((SELECT 1) UNION ALL (SELECT 2))",
            "-- what; it (is\n/* a ) ; */ # b )\n#! c (\nSELECT 1",
            r#"SELECT ')', 'it''s (;', 'a\'; (', "a"")", `b``;` FROM `c)`"#,
            "SELECT '$;', /*/ ) */ 1",
            "SELECT {as_of:DateTime64(3, 'UTC')}, { as_of : String }, {'a': 1}, {1: 2}",
            "SELECT a FROM t SETTINGS max_threads = 1",
            "SELECT format('{}', a) AS format, a.format FROM t",
            "SELECT 'ü', 1 -- ends here;",
        ] {
            assert_eq!(check_query(query), Ok(()), "{query}");
        }
    }

    #[test]
    fn what_is_no_select_or_more_than_one_is_refused() {
        for (query, part) in [
            ("", "one SELECT"),
            ("SELEC nothing FRO", "begin it with SELECT or WITH"),
            ("INSERT INTO t SELECT 1", "begin it with SELECT or WITH"),
            ("SELECT 1; DROP TABLE events", "without `;`"),
            ("SELECT 1;", "without `;`"),
            ("SELECT 1 AS sensor_id, 1 AS v) UNION ALL (SELECT 2, 2", "closes a parenthesis that it did not open"),
            ("SELECT '\\\\') UNION ALL (SELECT 2, '2'", "closes a parenthesis that it did not open"),
            ("SELECT ‘'’) UNION ALL (SELECT 2, ‘'’", "outside of a text in '"),
            ("SELECT $$'$$) UNION ALL (SELECT 2, $$'$$", "outside of a text in '"),
            ("SELECT 'a", "a text in '"),
            ("SELECT 1 /* /* */ ) UNION ALL (SELECT 2 /* */ */", "a comment in a comment"),
            ("SELECT (1", "does not close all"),
            ("SELECT 1 /*/ ", "a comment"),
            ("SELECT `a", "a text in `"),
            ("SELECT 1\\G", "outside of"),
            ("SELECT 1 FORMAT CSV", "leave out FORMAT"),
            ("SELECT 1 format Null SETTINGS max_threads = 1", "leave out FORMAT"),
            ("SELECT 1 INTO OUTFILE 'x'", "leave out FORMAT and INTO OUTFILE"),
            ("SELECT {foo:String}", "no parameter `foo`; there is {as_of:DateTime64(3, 'UTC')}"),
        ] {
            let said = check_query(query).expect_err(query);
            assert!(said.contains(part), "{query}: {said}");
        }
    }
}
