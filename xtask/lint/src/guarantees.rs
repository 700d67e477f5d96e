//! Each line of the table in `docs/guarantees.md` names the whole-system test that shows it, or says that it is planned.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use syn::Item;

use crate::Finding;
use crate::tree::Tree;

const PAGE: &str = "docs/guarantees.md";

/// One finding per line that names no test, or one that is not there.
pub fn check(tree: &Tree, root: &Path) -> anyhow::Result<Vec<Finding>> {
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("failed to read {PAGE}"))?;
    let tests = whole_system_tests(tree);
    let unproved = rows(&page).filter_map(|row| complaint(row, &tests).map(|what| (row, what)));
    let finding = |(row, what): (&str, String)| Finding {
        lint: "guarantee",
        place: PAGE.to_owned(),
        message: format!("{what}: {row}"),
    };
    Ok(unproved.map(finding).collect())
}

/// The rows of the first table, without its head.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    page.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2)
}

fn complaint(row: &str, tests: &BTreeSet<String>) -> Option<String> {
    let cell = row.trim().trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
    if cell.starts_with("planned") {
        return None;
    }
    let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
    if names.is_empty() {
        return Some("the last column names no test (`like_this`), nor says `planned`".to_owned());
    }
    let missing = names.iter().find(|name| !tests.contains(**name))?;
    Some(format!("there is no test `{missing}` in e2e/tests"))
}

fn whole_system_tests(tree: &Tree) -> BTreeSet<String> {
    let files = tree.rust.iter().filter(|file| file.path.starts_with("e2e/tests"));
    let functions = files.flat_map(|file| &file.syntax.items).filter_map(|item| match item {
        Item::Fn(function) => Some(function.sig.ident.to_string()),
        _ => None,
    });
    functions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_a_test_that_exists_or_is_planned() {
        let tests = BTreeSet::from(["a_fact".to_owned()]);
        let page = "# x\n\n| fails | test |\n|---|---|\n| a | `a_fact` |\n| b | `another` |\n| c | planned |\n| d | nothing |\n\n| e |";
        let complaints: Vec<bool> = rows(page).map(|row| complaint(row, &tests).is_some()).collect();
        assert_eq!(complaints, [false, true, false, true]);
    }
}
