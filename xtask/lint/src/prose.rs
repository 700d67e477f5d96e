//! The prose of a file, apart from its code: comments and strings of Rust, paragraphs of Markdown. Judging
//! it is left to `phrases`.

/// A comment, a string or a paragraph, with the line on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Prose {
    pub line: usize,
    pub text: String,
}

/// The comments and strings of Rust code. Comments on neighbouring lines are one.
pub fn of_rust(code: &str) -> Vec<Prose> {
    let mut scanner = Scanner { code, at: 0, line: 1, found: Vec::new() };
    while scanner.step() {}
    scanner.found
}

/// The paragraphs of a page: no headings, and no blocks of code.
pub fn of_page(text: &str) -> Vec<Prose> {
    let mut found = Vec::new();
    let mut paragraph: Option<Prose> = None;
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        if fence || in_code || line.trim().is_empty() || line.starts_with('#') {
            found.extend(paragraph.take());
            continue;
        }
        let paragraph = paragraph.get_or_insert_with(|| Prose { line: index + 1, text: String::new() });
        paragraph.text.push_str(line);
        paragraph.text.push('\n');
    }
    found.extend(paragraph);
    found
}

struct Scanner<'c> {
    code: &'c str,
    at: usize,
    line: usize,
    found: Vec<Prose>,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.code[self.at..]
    }

    /// Goes past one comment, literal or character; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return false };
        if rest.starts_with("//") {
            self.line_comments();
        } else if rest.starts_with("/*") {
            let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
            self.note(0, end, 2);
        } else if let Some(hashes) = raw_string(rest).filter(|_| !self.inside_a_word()) {
            let open = rest.find('"').unwrap_or(0) + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len());
            self.note(open, end, close.len());
        } else if first == '"' {
            let end = string_end(rest);
            self.note(1, end, 1);
        } else if first == '\'' {
            self.skip(character_end(rest));
        } else {
            self.skip(first.len_utf8());
        }
        true
    }

    /// Whether the character before is part of a word, so that an `r` here begins no raw string.
    fn inside_a_word(&self) -> bool {
        self.code[..self.at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
    }

    /// Comments on one line after the other, as one text.
    fn line_comments(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while self.rest().starts_with("//") {
            let end = self.rest().find('\n').unwrap_or(self.rest().len());
            let comment = self.rest()[..end].trim_start_matches(['/', '!']);
            text.push_str(comment.trim_start());
            text.push('\n');
            self.skip(end);
            let indent = self.rest().len() - self.rest().trim_start_matches([' ', '\n']).len();
            let next_line = self.rest()[..indent].matches('\n').count() == 1;
            if !next_line || !self.rest()[indent..].starts_with("//") {
                break;
            }
            self.skip(indent);
        }
        self.found.push(Prose { line, text });
    }

    /// Notes the text from `from` to `end`, less what closes it, and goes past it.
    fn note(&mut self, from: usize, end: usize, close: usize) {
        let text = self.rest()[from.min(end)..end.saturating_sub(close).max(from.min(end))].to_owned();
        self.found.push(Prose { line: self.line, text });
        self.skip(end);
    }

    fn skip(&mut self, bytes: usize) {
        self.line += self.rest()[..bytes].matches('\n').count();
        self.at += bytes;
    }
}

/// How many hashes a raw string has, if one begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of the string that begins here, quotes included.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the character literal that begins here, or of the quote alone where it is a lifetime.
fn character_end(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => characters.skip(1).find(|(_, c)| *c == '\'').map_or(1, |(index, _)| index + 1),
        Some(_) => characters.next().filter(|(_, c)| *c == '\'').map_or(1, |(index, _)| index + 1),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_found_and_code_is_not() {
        let code = "//! One\n//! two.\n\nfn f<'a>(c: char) -> &'a str { // beside\n    let q = '\"'; let n = '\\'';\n    \"a \\\" // b\" }\n/* block */ let r#x = r#\"raw \"x\"\"#;";
        let found: Vec<(usize, String)> = of_rust(code).into_iter().map(|prose| (prose.line, prose.text)).collect();
        let expected = [(1, "One\ntwo.\n"), (4, "beside\n"), (6, "a \\\" // b"), (7, "/* block "), (7, "raw \"x\"")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn a_page_is_its_paragraphs() {
        let page = "# What it is\n\nOne\ntwo.\n```sh\nno prose\n```\n- three\n";
        let found: Vec<(usize, String)> = of_page(page).into_iter().map(|prose| (prose.line, prose.text)).collect();
        assert_eq!(found, [(3, "One\ntwo.\n".to_owned()), (8, "- three\n".to_owned())]);
    }
}
