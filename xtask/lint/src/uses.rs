//! Which file of a crate uses which other, read from the paths that it writes: `crate::`, `super::`, `self::`, or the
//! name of a child. A name is followed through imports to the file that defines it.
//!
//! Declaring a child (`mod child;`) and re-exporting from it (`pub use child::Thing;`) are not uses. Tests and
//! attributes do not count. Names that a macro makes are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, UseTree, Visibility};

use crate::tree::{RustFile, folder_of_children};

/// Imports that lead from one to the next, at most; a longer chain is left where it is.
const DEPTH: usize = 16;

/// The uses of one crate, or of one test binary: which file (by its place in `files`) uses which.
pub struct Uses<'t> {
    pub files: Vec<&'t RustFile>,
    pub edges: BTreeSet<(usize, usize)>,
}

impl<'t> Uses<'t> {
    /// Reads the files of one crate, of which `root` (`src/lib.rs`, say) is the first.
    pub fn read(root: &'t RustFile, files: impl Iterator<Item = &'t RustFile>) -> Self {
        let folder = folder_of_children(&root.path);
        let below = files.filter(|file| file.path.starts_with(&folder) && !is_root(&file.path));
        let files: Vec<&RustFile> = std::iter::once(root).chain(below).collect();
        let modules = Modules::of(&folder, &files);
        let edges = modules.edges();
        Self { files, edges }
    }

    /// Whether one file is a submodule of another, at any depth.
    pub fn is_below(&self, file: usize, other: usize) -> bool {
        self.files[file].path.starts_with(folder_of_children(&self.files[other].path))
    }
}

/// Whether a file is the root of a crate, so that paths do not lead into it from another.
pub fn is_root(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["lib.rs", "main.rs"].contains(&name)
}

/// A module: a file, or an inline module of one.
#[derive(Default)]
struct Module {
    file: usize,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    uses: Vec<Vec<String>>,
    reexports: Vec<Vec<String>>,
}

struct Modules(Vec<Module>);

impl Modules {
    fn of(folder: &Path, files: &[&RustFile]) -> Self {
        let mut modules = Self(vec![Module::default()]);
        let mut by_folder: BTreeMap<PathBuf, usize> = BTreeMap::from([(folder.to_path_buf(), 0)]);
        // A parent has a shorter path than its children.
        let mut order: Vec<(PathBuf, usize)> =
            files.iter().enumerate().skip(1).map(|(file, rust)| (folder_of_children(&rust.path), file)).collect();
        order.sort_by_key(|(path, _)| path.components().count());
        for (path, file) in order {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(parent) = path.parent().and_then(|parent| by_folder.get(parent)) else { continue };
            by_folder.insert(path.clone(), modules.add(*parent, name, file));
        }
        for (path, module) in by_folder {
            let file = if path == folder { 0 } else { modules.0[module].file };
            Reader { modules: &mut modules, module }.read(&files[file].syntax.items);
        }
        modules
    }

    fn add(&mut self, parent: usize, name: String, file: usize) -> usize {
        let module = self.0.len();
        self.0.push(Module { file, parent: Some(parent), ..Module::default() });
        self.0[parent].children.insert(name, module);
        module
    }

    fn edges(&self) -> BTreeSet<(usize, usize)> {
        let mut edges = BTreeSet::new();
        for (id, module) in self.0.iter().enumerate() {
            let used = module.uses.iter().filter_map(|path| self.resolve(id, path, DEPTH));
            let reexported = module.reexports.iter().filter_map(|path| self.resolve(id, path, DEPTH));
            let reexported = reexported.filter(|target| !self.is_below(*target, id));
            edges.extend(used.chain(reexported).map(|target| (module.file, self.0[target].file)));
        }
        edges.retain(|(from, to)| from != to);
        edges
    }

    fn is_below(&self, module: usize, other: usize) -> bool {
        std::iter::successors(Some(module), |module| self.0[*module].parent).any(|module| module == other)
    }

    /// The module in which a path ends, or that defines the item that it names. `None` for other crates.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let mut module = from;
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => module = 0,
                "self" => {}
                "super" => module = self.0[module].parent?,
                _ => break,
            }
            rest = after;
        }
        let relative = rest.len() == path.len();
        if relative && !self.0[from].children.contains_key(path.first()?) {
            return None;
        }
        self.descend(module, rest, depth)
    }

    fn descend(&self, module: usize, path: &[String], depth: usize) -> Option<usize> {
        let Some((first, rest)) = path.split_first() else { return Some(module) };
        let here = &self.0[module];
        if let Some(child) = here.children.get(first) {
            return self.descend(*child, rest, depth);
        }
        if here.items.contains(first) || depth == 0 {
            return Some(module);
        }
        if let Some(import) = here.imports.get(first) {
            let whole: Vec<String> = import.iter().chain(rest).cloned().collect();
            return self.resolve(module, &whole, depth - 1);
        }
        let globs = here.globs.iter().filter_map(|glob| self.resolve(module, glob, depth - 1));
        let mut defining = globs.filter(|target| *target != module && self.defines(*target, first));
        match defining.next() {
            Some(target) => self.descend(target, path, depth - 1),
            None => Some(module),
        }
    }

    fn defines(&self, module: usize, name: &str) -> bool {
        let module = &self.0[module];
        module.items.contains(name) || module.children.contains_key(name) || module.imports.contains_key(name)
    }
}

/// Notes what one module defines, imports and uses.
struct Reader<'m> {
    modules: &'m mut Modules,
    module: usize,
}

impl Reader<'_> {
    fn read(&mut self, items: &[Item]) {
        let names = items.iter().filter_map(name);
        self.modules.0[self.module].items.extend(names);
        items.iter().for_each(|item| self.visit_item(item));
    }

    /// Notes a path. One word alone may be a variable, so it is not a path.
    fn uses(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            self.modules.0[self.module].uses.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else { return };
        let file = self.modules.0[self.module].file;
        let module = self.modules.add(self.module, item.ident.to_string(), file);
        Reader { modules: self.modules, module }.read(items);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut imports = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut imports);
        let module = &mut self.modules.0[self.module];
        let private = matches!(item.vis, Visibility::Inherited);
        for (path, name) in imports {
            if private {
                module.uses.push(path.clone())
            } else {
                module.reexports.push(path.clone())
            };
            match name {
                Some(name) => drop(module.imports.insert(name, path)),
                None => module.globs.push(path),
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.uses(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        paths_in(call.tokens.clone()).into_iter().for_each(|path| self.uses(path));
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// Every path of a `use`, with the name that it is known by here; no name for a glob.
fn flatten(tree: &UseTree, prefix: &mut Vec<String>, found: &mut Vec<(Vec<String>, Option<String>)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, found)),
        UseTree::Glob(_) => found.push((prefix.clone(), None)),
        UseTree::Name(name) => found.push(named(prefix, &name.ident, &name.ident)),
        UseTree::Rename(rename) => found.push(named(prefix, &rename.ident, &rename.rename)),
    }
}

fn named(prefix: &[String], ident: &syn::Ident, known_as: &syn::Ident) -> (Vec<String>, Option<String>) {
    let mut path = prefix.to_vec();
    // `use a::{self}` imports `a` under its own name.
    if ident != "self" {
        path.push(ident.to_string());
    }
    let name = if known_as == "self" { path.last().cloned() } else { Some(known_as.to_string()) };
    (path, name)
}

/// The name that an item defines in its module.
fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The paths (`a::b::c`) in what is given to a macro, which is not parsed.
fn paths_in(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => path.push(ident.to_string()),
            TokenTree::Ident(ident) => {
                paths.push(std::mem::replace(&mut path, vec![ident.to_string()]));
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => {
                colons += 1;
                continue;
            }
            TokenTree::Group(group) => {
                paths.push(std::mem::take(&mut path));
                paths.extend(paths_in(group.stream()));
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => paths.push(std::mem::take(&mut path)),
        }
        colons = 0;
    }
    paths.push(path);
    paths
}
