//! Every Rust file, tests included, opens with `//!`: its job, and what it leaves to others (STYLE 11).

use crate::Finding;
use crate::tree::Tree;

/// One finding per file that begins otherwise.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let silent = tree.rust.iter().filter(|file| !file.text.starts_with("//! "));
    silent
        .map(|file| Finding {
            lint: "opening",
            place: file.path.display().to_string(),
            message: "the first line must be `//! …`, with the job of the file".to_owned(),
        })
        .collect()
}
