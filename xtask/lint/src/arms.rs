//! No catch-all arm over the enums that grow with Millrace: aggregates, states, windows, stores (DESIGN §3). A new
//! variant must not compile before every place has said what it does with it.
//!
//! A match counts as one over such an enum when another of its arms names a variant of it.

use syn::visit::{self, Visit};
use syn::{Arm, ExprMatch, ImplItemFn, ItemFn, ItemImpl, Pat};

use crate::Finding;
use crate::tree::Tree;

/// The enums by name.
const ENUMS: [&str; 12] = [
    "Aggregate",
    "AggregateState",
    "Aggregation",
    "Counted",
    "Cut",
    "Distinct",
    "Span",
    "State",
    "Store",
    "Window",
    "WindowKind",
    "WindowState",
];

/// One finding per catch-all arm.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.production() {
        let mut reader = Reader::default();
        reader.visit_file(&file.syntax);
        findings.extend(reader.found.into_iter().map(|(function, name)| Finding {
            lint: "catch-all",
            place: file.path.display().to_string(),
            message: format!("fn {function}: a catch-all arm hides variants of `{name}`; name them"),
        }));
    }
    findings
}

#[derive(Default)]
struct Reader {
    /// The type of the `impl` that is being read, which `Self` means.
    this: Option<String>,
    /// The function that is being read.
    function: String,
    found: Vec<(String, String)>,
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        let outer = std::mem::replace(&mut self.this, name);
        visit::visit_item_impl(self, item);
        self.this = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function = item.sig.ident.to_string();
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function = item.sig.ident.to_string();
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_expr_match(&mut self, expression: &'ast ExprMatch) {
        let mut names = Names { this: self.this.as_deref(), found: None };
        expression.arms.iter().for_each(|arm| names.visit_pat(&arm.pat));
        if let Some(name) = names.found {
            let all = expression.arms.iter().filter(|arm| takes_everything(arm));
            self.found.extend(all.map(|_| (self.function.clone(), name.clone())));
        }
        visit::visit_expr_match(self, expression);
    }
}

/// Looks for a variant of one of the enums in patterns.
struct Names<'n> {
    this: Option<&'n str>,
    found: Option<String>,
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let Some(before_last) = path.segments.iter().rev().nth(1) else { return };
        let written = before_last.ident.to_string();
        let name = if written == "Self" { self.this.unwrap_or_default().to_owned() } else { written };
        if ENUMS.contains(&name.as_str()) {
            self.found = Some(name);
        }
    }

    // A guard or a constant's type is not a pattern.
    fn visit_expr(&mut self, _: &'ast syn::Expr) {}
}

/// `_`, a name alone, or a tuple of such; without a guard.
fn takes_everything(arm: &Arm) -> bool {
    arm.guard.is_none() && is_wild(&arm.pat)
}

fn is_wild(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) => true,
        // A constant or a unit variant begins with a capital.
        Pat::Ident(ident) => ident.subpat.is_none() && ident.ident.to_string().starts_with(|c: char| c.is_lowercase()),
        Pat::Tuple(tuple) => tuple.elems.iter().all(is_wild),
        Pat::Reference(reference) => is_wild(&reference.pat),
        Pat::Paren(inner) => is_wild(&inner.pat),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let mut reader = Reader::default();
        reader.visit_file(&syn::parse_str(text).unwrap());
        reader.found
    }

    #[test]
    fn a_catch_all_beside_a_named_variant_is_found() {
        let text = "impl State { fn f(self, b: Self) { match (self, b) {\n(Self::Count(a), Self::Count(b)) => {}\n_ => {} } } }";
        assert_eq!(found(text), [("f".to_owned(), "State".to_owned())]);
        assert_eq!(found("fn f(w: Window) { match w { Window::Lifetime => 1, other => 2 } }").len(), 1);
        assert_eq!(found("fn f(w: Window) { match (w, 1) { (Window::Lifetime, 1) => 1, (_, _) => 2 } }").len(), 1);
    }

    #[test]
    fn bytes_text_and_named_variants_may_have_any_arm() {
        assert!(found("fn f(b: u8) { match b { 0 => State::Count, _ => State::Sum } }").is_empty());
        assert!(
            found("fn f(s: Option<Store>) { match s { Some(Store::Redis) => 1, Some(Store::Mongo) | None => 2 } }")
                .is_empty()
        );
        assert!(found("fn f(w: Window) { match w { Window::Lifetime => 1, Window::Session(gap) if gap > 1 => 2, other if true => 3, Window::Session(_) => 4 } }").is_empty());
    }
}
