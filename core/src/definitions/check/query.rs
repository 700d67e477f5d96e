//! Looks at the text of a batch view's query as far as that can be done without ClickHouse: that it is one SELECT which
//! stays within the parentheses that a run puts around it, and which parameters it asks for. What it means is
//! ClickHouse's to say, when it is applied and when it is run.

/// The parameters that a run gives a query, by name.
const PARAMETERS: [(&str, &str); 1] = [("as_of", "{as_of:DateTime64(3, 'UTC')}")];

/// Refuses what cannot run, or is more than one SELECT.
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

/// `{name:Type}`; other braces are literals.
fn parameter(rest: &[Token<'_>]) -> Result<(), String> {
    let [Token::Word(name), Token::Other(':'), ..] = rest else { return Ok(()) };
    let is_literal = name.starts_with(|c: char| c.is_ascii_digit());
    if is_literal || PARAMETERS.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let known: Vec<&str> = PARAMETERS.iter().map(|(_, written)| *written).collect();
    Err(format!("`query` has no parameter `{name}`; there is {}", known.join(", ")))
}

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
    /// A string or a name in quotes.
    Quoted,
    /// Any other character.
    Other(char),
}

impl Token<'_> {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// The tokens of ClickHouse's `Lexer.cpp`, without blanks and comments. Where two of its versions read a text
/// differently, that text is refused.
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

/// Length of a quoted text; a backslash or the quote itself escapes.
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
