//! Phrases that may not stand in comments, strings and pages, because people who do not know the project stumble over
//! them (STYLE 10 and 11). A short list: plain English is more than this.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::Finding;
use crate::prose::{Prose, of_page, of_rust};
use crate::tree::Tree;

/// Each phrase with what to write in its place.
const PHRASES: [(&str, &str); 8] = [
    (r"(?i)\b(?P<verb>is|are|was|were)\s+no\b(?P<after>\s+\w+)?", "write `is not a`, or `there is no`"),
    (r"(?i)\b(is|are)\s+none\b", "say what is not there"),
    (r"(?i)\bof\s+ours\b", "write `our …`, or name it"),
    (r"(?i)\bas\s+(it|they)\s+stands?\b", "write `unchanged`, or `as it is now`"),
    (r"(?i)\bso\s+many\b", "write `that number of`, or the number"),
    (r"(?m)(^|[.!?]\s+)(What|Who|Whatever|Whoever)\b[^.?]*[.]", "begin the sentence with its subject"),
    (
        r"(?i)\b(departures?|bury|buries|buried|burying|swift)\b",
        "use the field's word: coalescing, dead-letter, fast path",
    ),
    (r"(?i)\bdoors?\b", "REST, gRPC and GraphQL are APIs"),
];

/// After `is no`, these words are plain English.
const PLAIN_AFTER: [&str; 7] = ["longer", "more", "less", "fewer", "later", "earlier", "other"];

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let compiled = |(pattern, advice): (&str, &'static str)| Some((Regex::new(pattern).ok()?, advice));
    PHRASES.into_iter().filter_map(compiled).collect()
});

/// One finding per phrase, counted by crate, or by folder of pages.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The lint itself names what it looks for.
    let rust = tree.rust.iter().filter(|file| !file.path.ends_with("lint/src/phrases.rs"));
    for file in rust {
        findings.extend(of_rust(&file.text).iter().flat_map(|prose| in_prose(&file.path, &file.krate, prose)));
    }
    for page in &tree.pages {
        let folder = page.path.parent().unwrap_or(Path::new(""));
        findings.extend(of_page(&page.text).iter().flat_map(|prose| in_prose(&page.path, folder, prose)));
    }
    findings
}

fn in_prose(path: &Path, place: &Path, prose: &Prose) -> Vec<Finding> {
    let finding = |(line, phrase, advice): (usize, String, &str)| Finding {
        lint: "phrase",
        place: if place == Path::new("") { ".".to_owned() } else { place.display().to_string() },
        message: format!("{}:{line}: “{phrase}”: {advice}", path.display()),
    };
    found(prose).into_iter().map(finding).collect()
}

/// Every phrase with its line and the advice.
fn found(prose: &Prose) -> Vec<(usize, String, &'static str)> {
    let text = without_code(&prose.text);
    let mut found = Vec::new();
    for (pattern, advice) in PATTERNS.iter() {
        for captures in pattern.captures_iter(&text) {
            let Some(whole) = captures.get(0) else { continue };
            let after = captures.name("after").map_or("", |after| after.as_str().trim());
            let there =
                captures.name("verb").is_some() && text[..whole.start()].trim_end().to_lowercase().ends_with("there");
            if there || PLAIN_AFTER.contains(&after) {
                continue;
            }
            let line = prose.line + text[..whole.start()].matches('\n').count();
            let phrase = whole.as_str().split_whitespace().collect::<Vec<_>>().join(" ");
            found.push((line, phrase, *advice));
        }
    }
    found
}

/// The text with what stands between backticks blotted out, byte for byte.
fn without_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let blotted = parts.map(|(index, part)| {
        let code = index % 2 == 1;
        if code { part.chars().map(|c| if c == '\n' { c } else { 'x' }).collect() } else { part.to_owned() }
    });
    blotted.collect::<Vec<String>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(text: &str) -> Vec<String> {
        found(&Prose { line: 1, text: text.to_owned() }).into_iter().map(|(_, phrase, _)| phrase).collect()
    }

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.len(), PHRASES.len());
    }

    #[test]
    fn each_phrase_is_found_also_across_lines() {
        for (text, phrase) in [
            ("It is\nno number", "is no number"),
            ("null where it is none", "is none"),
            ("a store of ours", "of ours"),
            ("run as it stands", "as it stands"),
            ("in so many\nmilliseconds", "so many"),
            ("Runs. What it takes waits.", ". What it takes waits."),
            ("the departure board", "departure"),
            ("Bury it", "Bury"),
            ("two doors", "doors"),
        ] {
            assert_eq!(phrases(text), [phrase], "{text}");
        }
    }

    #[test]
    fn plain_english_passes() {
        for text in [
            "There is no view",
            "it is no longer there",
            "What is missing? Nothing.",
            "It is not a number",
            "code: `is no`",
            "it says what it is.",
        ] {
            assert_eq!(phrases(text), Vec::<String>::new(), "{text}");
        }
    }
}
