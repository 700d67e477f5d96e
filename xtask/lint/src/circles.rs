//! Files that import each other in a circle are one room with a wall through it (DESIGN §1): cut the wall, or join the
//! rooms.
//!
//! A file and its submodules may know each other: a child uses what its parent defines, and the parent calls its
//! children. So a use that leads from a file up to one of its own ancestors does not count. Any other circle does.

use std::path::Path;

use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;

use crate::Finding;
use crate::tree::{RustFile, Tree};
use crate::uses::{Uses, is_root};

/// One finding per circle of each crate, and of each test binary.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let roots = tree.rust.iter().filter(|file| is_root(&file.path) && !beside_a_library(tree, file));
    roots.flat_map(|root| circles(tree, root)).collect()
}

/// Whether a file is the `main.rs` of a crate that has a library: its modules are the library's.
fn beside_a_library(tree: &Tree, file: &RustFile) -> bool {
    file.path.ends_with("main.rs") && tree.rust.iter().any(|other| other.path == file.path.with_file_name("lib.rs"))
}

fn circles(tree: &Tree, root: &RustFile) -> Vec<Finding> {
    let mut uses = Uses::read(root, tree.rust.iter().filter(|file| file.test == root.test));
    let upwards: Vec<_> = uses.edges.iter().copied().filter(|(from, to)| uses.is_below(*from, *to)).collect();
    uses.edges.retain(|edge| !upwards.contains(edge));
    let graph = DiGraph::<(), (), usize>::from_edges(&uses.edges);
    let circles = tarjan_scc(&graph).into_iter().filter(|files| files.len() > 1);
    let indexes = circles.map(|files| files.into_iter().map(petgraph::graph::NodeIndex::index).collect());
    indexes.map(|files| finding(root, &uses, files)).collect()
}

fn finding(root: &RustFile, uses: &Uses<'_>, mut files: Vec<usize>) -> Finding {
    let folder = root.path.parent().unwrap_or(Path::new(""));
    let name =
        |file: &usize| uses.files[*file].path.strip_prefix(folder).unwrap_or(Path::new("")).display().to_string();
    files.sort_unstable_by_key(|file| uses.files[*file].path.clone());
    let names: Vec<String> = files.iter().map(name).collect();
    let inside = uses.edges.iter().filter(|(from, to)| files.contains(from) && files.contains(to));
    let edges: Vec<String> = inside.map(|(from, to)| format!("{} uses {}", name(from), name(to))).collect();
    let place = format!("{}: {}", folder.display(), names.join(" "));
    let message = format!("these files use each other in a circle: {}", edges.join(", "));
    Finding { lint: "circle", place, message }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A tree of one crate, from paths and texts.
    fn tree(files: &[(&str, &str)]) -> Tree {
        let rust = files.iter().map(|(path, text)| RustFile {
            path: PathBuf::from("one/src").join(path),
            krate: "one".into(),
            text: (*text).to_owned(),
            syntax: syn::parse_str(text).unwrap(),
            test: false,
        });
        Tree { rust: rust.collect(), pages: Vec::new() }
    }

    fn places(files: &[(&str, &str)]) -> Vec<String> {
        check(&tree(files)).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn siblings_that_use_each_other_are_a_circle() {
        let found = places(&[
            ("lib.rs", "mod log; mod names;"),
            ("log.rs", "pub mod create;"),
            ("log/create.rs", "use crate::{std::fmt, names::{Name, self}}; pub struct Log;"),
            ("names.rs", "pub struct Name; fn log() -> crate::log::create::Log { todo!() }"),
        ]);
        assert_eq!(found, ["one/src: log/create.rs names.rs"]);
    }

    #[test]
    fn a_name_is_followed_through_reexports_and_globs() {
        let files = [
            ("lib.rs", "mod model; mod route;"),
            ("model.rs", "mod inner; pub use inner::*; pub use self::inner::Other as Model;"),
            ("model/inner.rs", "pub struct Feature; pub struct Other; fn f() { crate::route::go() }"),
        ];
        for user in ["use super::model::Feature; pub fn go() {}", "use crate::model::Model; pub fn go() {}"] {
            let found = places(&[&files[..], &[("route.rs", user)]].concat());
            assert_eq!(found, ["one/src: model/inner.rs route.rs"], "{user}");
        }
    }

    #[test]
    fn a_parent_and_its_children_may_know_each_other() {
        let found = places(&[
            ("lib.rs", "mod a; pub use a::b::B; pub struct Root;"),
            ("a.rs", "mod b; pub use b::B; use b::make; pub struct A; fn f() { make() }"),
            ("a/b.rs", "use super::A; use crate::Root; pub struct B(A); pub fn make() {}"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn tests_visibilities_and_names_alone_are_not_uses() {
        let found = places(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub(in crate::b) struct A; fn f(b: B) { b; }"),
            ("b.rs", "pub struct B; fn f() { let a = 1; format!(\"crate::a::A\"); }"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn paths_in_expressions_and_in_macros_are_uses() {
        let found = places(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "fn f() { matches!(x, crate::b::B) }"),
            ("b.rs", "fn f() { super::c::g() }"),
            ("c.rs", "mod inner { impl crate::a::T for u8 {} }"),
        ]);
        assert_eq!(found, ["one/src: a.rs b.rs c.rs"]);
    }
}
