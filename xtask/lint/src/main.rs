//! Rules about the source that neither rustfmt nor clippy knows, one file per rule, and figures about its shape.
//! `cargo xtask lint` and `cargo xtask shape` run this program in the checkout that it looks at.

mod arms;
mod circles;
mod deps;
mod guarantees;
mod known;
mod links;
mod openings;
mod phrases;
mod prose;
mod shape;
mod sizes;
mod tree;
mod uses;

use std::path::Path;

use anyhow::bail;

use known::Known;
use tree::Tree;

/// Something that a rule forbids.
#[derive(Debug)]
pub struct Finding {
    /// The rule.
    pub lint: &'static str,
    /// Where findings of the rule are counted: a file, a crate, or the files of a circle.
    pub place: String,
    /// The mistake, and how to mend it.
    pub message: String,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = std::env::current_dir()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["check"] => check(&root),
        ["shape"] => shape::print(&root, shape::Detail::Everything),
        ["shape", "--brief"] => shape::print(&root, shape::Detail::Counts),
        _ => bail!("expected `check`, `shape` or `shape --brief`, found `{}`", arguments.join(" ")),
    }
}

/// Fails with everything that is found and not known.
fn check(root: &Path) -> anyhow::Result<()> {
    deps::check()?;
    let (tree, known) = (Tree::read(root)?, Known::read(root)?);
    let findings = all(&tree, root)?;
    for line in known.outdated(&findings) {
        eprintln!("{line}");
    }
    let failing = known.failing(findings);
    if failing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        failing.iter().map(|finding| format!("{} [{}] {}", finding.place, finding.lint, finding.message)).collect();
    bail!("{} findings:\n{}", lines.len(), lines.join("\n"))
}

/// The findings of every rule in a checkout.
fn all(tree: &Tree, root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = openings::check(tree);
    findings.extend(circles::check(tree));
    findings.extend(arms::check(tree));
    findings.extend(phrases::check(tree));
    findings.extend(links::check(tree, root));
    findings.extend(guarantees::check(tree, root)?);
    Ok(findings)
}
