//! The repository's files as the lints read them: Rust files with their crate and their syntax, pages with their text.
//! Judging them is left to the lints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use syn::{Attribute, Item};

/// All Rust files and all Markdown pages of a checkout.
pub struct Tree {
    pub rust: Vec<RustFile>,
    pub pages: Vec<Page>,
}

/// A Rust file. Its path is relative to the checkout.
pub struct RustFile {
    pub path: PathBuf,
    /// The folder of its crate.
    pub krate: PathBuf,
    pub text: String,
    /// Its syntax without the items that exist only under test.
    pub syntax: syn::File,
    /// Whether the whole file exists only under test.
    pub test: bool,
}

/// A Markdown page. Its path is relative to the checkout.
pub struct Page {
    pub path: PathBuf,
    pub text: String,
}

impl Tree {
    /// Reads a checkout: the files that git tracks, and new ones that it does not ignore.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let paths = files(root)?;
        let crates: BTreeSet<PathBuf> = paths
            .iter()
            .filter(|path| path.ends_with("Cargo.toml"))
            .filter_map(|path| path.parent().map(Path::to_path_buf))
            .collect();
        let mut tree = Self { rust: Vec::new(), pages: Vec::new() };
        let mut only_under_test = BTreeSet::new();
        for path in paths {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if !["rs", "md"].contains(&extension) {
                continue;
            }
            let text = std::fs::read_to_string(root.join(&path))
                .with_context(|| format!("failed to read {}", path.display()))?;
            if extension == "md" {
                tree.pages.push(Page { path, text });
                continue;
            }
            let syntax = syn::parse_file(&text).with_context(|| format!("failed to parse {}", path.display()))?;
            only_under_test.extend(test_modules(&path, &syntax.items));
            let krate = path.ancestors().skip(1).find(|folder| crates.contains(*folder)).unwrap_or(Path::new(""));
            tree.rust.push(RustFile { krate: krate.to_path_buf(), text, syntax, test: false, path });
        }
        for file in &mut tree.rust {
            without_tests(&mut file.syntax.items);
            let inside = file.path.strip_prefix(&file.krate).unwrap_or(&file.path);
            file.test = inside.starts_with("tests")
                || file.path.ancestors().any(|path| only_under_test.contains(&path.with_extension("")));
        }
        Ok(tree)
    }

    /// The Rust files that are built into the product.
    pub fn production(&self) -> impl Iterator<Item = &RustFile> {
        self.rust.iter().filter(|file| !file.test)
    }
}

/// The folder in which the submodules of a file lie.
pub fn folder_of_children(path: &Path) -> PathBuf {
    let root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| path.ends_with(name));
    if root { path.parent().unwrap_or(Path::new("")).to_path_buf() } else { path.with_extension("") }
}

fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = command.output().context("failed to run git")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("git printed a path that is not UTF-8")?;
    let mut paths: Vec<PathBuf> = names.split_terminator('\0').map(PathBuf::from).collect();
    // A file that was removed and not committed yet is still listed.
    paths.retain(|path| root.join(path).is_file());
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The modules with files of their own that a file declares under `cfg(test)`, as paths without an extension.
fn test_modules(path: &Path, items: &[Item]) -> Vec<PathBuf> {
    let folder = folder_of_children(path);
    let declared = items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => Some(module.ident.to_string()),
        _ => None,
    });
    declared.map(|name| folder.join(name)).collect()
}

fn without_tests(items: &mut Vec<Item>) {
    items.retain(|item| !is_test(attributes(item)));
    for item in items {
        if let Item::Mod(module) = item
            && let Some((_, inner)) = &mut module.content
        {
            without_tests(inner);
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether one of the attributes is `cfg(test)`, alone or as one of several conditions.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        let words: Vec<&str> = condition.split(|c: char| !c.is_alphanumeric()).collect();
        words.contains(&"test") && !words.contains(&"not")
    })
}
