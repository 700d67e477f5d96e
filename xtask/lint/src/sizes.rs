//! How long files and functions are, and which types share a name: figures for `cargo xtask shape`. Nothing fails on
//! them: a long file is a place to look, not a mistake.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::tree::{RustFile, Tree};

/// Files longer than this hide a noun (STYLE 13).
pub const LONG_FILE: usize = 400;
/// So do functions longer than this.
pub const LONG_FUNCTION: usize = 45;

/// Files past [`LONG_FILE`], the longest first.
pub fn long_files(tree: &Tree) -> Vec<(usize, String)> {
    let lines = tree.rust.iter().map(|file| (file.text.lines().count(), file.path.display().to_string()));
    longest(lines.filter(|(lines, _)| *lines > LONG_FILE).collect())
}

/// Functions past [`LONG_FUNCTION`], the longest first. Tests do not count.
pub fn long_functions(tree: &Tree) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for file in tree.production() {
        let long = functions(&file.text).into_iter().filter(|(lines, _)| *lines > LONG_FUNCTION);
        found.extend(long.map(|(lines, name)| (lines, format!("{} {name}", file.path.display()))));
    }
    longest(found)
}

/// Names of structs, enums, traits and aliases that more than one file defines, with those files.
pub fn shared_names(tree: &Tree) -> BTreeMap<String, Vec<&RustFile>> {
    let mut names: BTreeMap<String, Vec<&RustFile>> = BTreeMap::new();
    for file in tree.production() {
        let mut types = Types::default();
        types.visit_file(&file.syntax);
        for name in types.found {
            names.entry(name).or_default().push(file);
        }
    }
    names.retain(|_, files| files.len() > 1);
    names
}

fn longest(mut found: Vec<(usize, String)>) -> Vec<(usize, String)> {
    found.sort_by(|one, other| other.cmp(one));
    found
}

/// Every function with its length in lines. Relies on rustfmt: what begins at an indent ends at the first `}` at that
/// indent. Modules of tests are left out.
fn functions(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim() == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|line| line.trim_end().ends_with('{')) {
            at += 1 + length(&lines[at + 1..]);
            continue;
        }
        if let Some(name) = function_name(lines[at]) {
            found.push((length(&lines[at..]), name.to_owned()));
        }
        at += 1;
    }
    found
}

/// The name of the function that begins on a line.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let word = |word: &str| ["const", "async", "unsafe", "default"].contains(&word) || word.starts_with("pub");
    let name = after.split(['(', '<']).next().unwrap_or_default();
    let declares = before.split_whitespace().all(word) && !name.is_empty() && !before.contains('"');
    declares.then_some(name)
}

/// The number of lines of an item that begins on the first line; 1 where it has no body.
fn length(lines: &[&str]) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let (first, own) = (lines[0].trim_end(), indent(lines[0]));
    if first.ends_with(['}', ';']) {
        return 1;
    }
    let ends = |line: &&str| indent(line) == own && (line.trim() == "}" || line.trim_end().ends_with(';'));
    lines.iter().skip(1).position(ends).map_or(1, |position| position + 2)
}

#[derive(Default)]
struct Types {
    found: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let ident = match item {
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            syn::Item::Type(item) => Some(&item.ident),
            _ => None,
        };
        self.found.extend(ident.map(ToString::to_string));
        visit::visit_item(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_function_is_its_lines() {
        let text = "pub(crate) async fn one(\n    a: u8,\n) {\n    if a {\n    }\n}\n\nfn two() { 2 }\n\n#[cfg(test)]\nmod tests {\n    fn three() {\n    }\n}\nfn four() {\n}\n";
        let expected = [(6, "one"), (1, "two"), (2, "four")].map(|(lines, name)| (lines, name.to_owned()));
        assert_eq!(functions(text), expected);
    }
}
