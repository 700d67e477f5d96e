//! The figures by which we see whether the source grows calmer or wilder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::sizes;
use crate::tree::Tree;

/// How much is printed of each figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Counts,
    /// The counts with what they count.
    Everything,
}

/// Prints each figure of a checkout.
pub fn print(root: &Path, detail: Detail) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let findings = crate::all(&tree, root)?;
    for (lint, title) in [
        ("circle", "circles of files that use each other"),
        ("catch-all", "catch-all arms over aggregates, states, windows and stores"),
        ("phrase", "phrases of the lint"),
        ("opening", "files that do not open with their job"),
    ] {
        let lines = findings.iter().filter(|finding| finding.lint == lint);
        let lines = lines.map(|finding| format!("{}: {}", finding.place, finding.message)).collect();
        figure(detail, title, lines);
    }
    let sized = |(lines, name): (usize, String)| format!("{lines} {name}");
    let files = sizes::long_files(&tree).into_iter().map(sized).collect();
    figure(detail, &format!("files of more than {} lines", sizes::LONG_FILE), files);
    let functions = sizes::long_functions(&tree).into_iter().map(sized).collect();
    figure(detail, &format!("functions of more than {} lines, without tests", sizes::LONG_FUNCTION), functions);
    let (names, across) = shared_names(&tree);
    figure(detail, "names that more than one type has", names);
    figure(detail, "names that types of more than one crate have", across);
    Ok(())
}

/// Shared names with their files, and those among them that are shared between crates.
fn shared_names(tree: &Tree) -> (Vec<String>, Vec<String>) {
    let (mut all, mut across) = (Vec::new(), Vec::new());
    for (name, files) in sizes::shared_names(tree) {
        let paths: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
        let line = format!("{name}: {}", paths.join(", "));
        let crates: BTreeSet<&PathBuf> = files.iter().map(|file| &file.krate).collect();
        if crates.len() > 1 {
            across.push(line.clone());
        }
        all.push(line);
    }
    (all, across)
}

fn figure(detail: Detail, title: &str, lines: Vec<String>) {
    println!("{:>5}  {title}", lines.len());
    if detail == Detail::Everything {
        lines.iter().for_each(|line| println!("       {line}"));
    }
}
