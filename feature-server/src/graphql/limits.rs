//! The limits of a document, which are checked before anything else is done with it. The fields of a fragment are counted
//! once, not at each use: a few nested fragments can stand for billions of fields.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};

use crate::error::RequestError;

/// The longest text. Parts of the validation take quadratic time. Long lists of keys belong in variables.
pub const MAX_TEXT: usize = 128 * 1024;
/// The deepest nesting of brackets. The parser is recursive.
const MAX_NESTING: usize = 64;
/// The most arguments of one field. No field of the schema has more than five.
const MAX_ARGUMENTS: usize = 16;
/// The most nested lists in an introspection: more than tools use, and few enough to bound the answer.
const MAX_INTROSPECTED: usize = 2;
/// The introspection fields that lead from a type to a list of others.
const LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

/// The limits of one document.
#[derive(Clone, Copy, Debug)]
pub struct DocumentLimits {
    /// The most nested fields. Fields of an introspection do not count.
    pub depth: usize,
    /// The most fields, with each fragment counted where it is used.
    pub fields: usize,
}

/// The size of a selection.
#[derive(Clone, Copy, Default)]
struct SelectionSize {
    depth: usize,
    fields: usize,
    introspected: usize,
}

/// Refuses a text that is too long or too deeply nested to parse.
pub fn check_text(text: &str) -> Result<(), RequestError> {
    if text.len() > MAX_TEXT {
        let error = format!("{} bytes of query; the most is {MAX_TEXT}, pass long lists as variables", text.len());
        return Err(RequestError::invalid("query", error));
    }
    // Brackets in strings and comments count too, so a text with very many of them is refused as well.
    let mut nesting = 0usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => nesting += 1,
            b'}' | b']' | b')' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        if nesting > MAX_NESTING {
            return Err(RequestError::invalid("query", format!("brackets nested deeper than {MAX_NESTING}")));
        }
    }
    Ok(())
}

/// Refuses a document that exceeds the limits.
pub fn check(document: &ExecutableDocument, limits: DocumentLimits) -> Result<(), RequestError> {
    let mut counter = FieldCounter { document, fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        let size = counter.selection(&operation.node.selection_set.node, false)?;
        let DocumentLimits { depth, fields } = limits;
        let refuse = |error: String| Err(RequestError::invalid("query", error));
        if size.depth > depth {
            return refuse(format!("{} fields inside each other; the most is {depth}", size.depth));
        }
        if size.fields > fields {
            return refuse(format!("{} fields, with fragments written out; the most is {fields}", size.fields));
        }
        if size.introspected > MAX_INTROSPECTED {
            return refuse(format!("more nested lists in an introspection than {MAX_INTROSPECTED}, which is the most"));
        }
    }
    Ok(())
}

struct FieldCounter<'d> {
    document: &'d ExecutableDocument,
    /// By name, and whether the fragment is used in an introspection. None while it is being counted.
    fragments: HashMap<(&'d Name, bool), Option<SelectionSize>>,
}

impl<'d> FieldCounter<'d> {
    fn selection(&mut self, selection: &'d SelectionSet, introspection: bool) -> Result<SelectionSize, RequestError> {
        let mut all = SelectionSize::default();
        for item in &selection.items {
            let one = match &item.node {
                Selection::Field(field) => self.field(&field.node, introspection)?,
                Selection::InlineFragment(inline) => self.selection(&inline.node.selection_set.node, introspection)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, introspection)?,
            };
            all.depth = all.depth.max(one.depth);
            all.fields = all.fields.saturating_add(one.fields);
            all.introspected = all.introspected.max(one.introspected);
        }
        Ok(all)
    }

    fn field(&mut self, field: &'d Field, introspection: bool) -> Result<SelectionSize, RequestError> {
        if field.arguments.len() > MAX_ARGUMENTS {
            let error = format!("field `{}` has more than {MAX_ARGUMENTS} arguments", field.name.node);
            return Err(RequestError::invalid("query", error));
        }
        let name = field.name.node.as_str();
        let introspection = introspection || name.starts_with("__");
        let below = self.selection(&field.selection_set.node, introspection)?;
        Ok(SelectionSize {
            depth: if introspection { 0 } else { below.depth + 1 },
            fields: below.fields.saturating_add(1),
            introspected: below.introspected + usize::from(introspection && LISTS.contains(&name)),
        })
    }

    fn fragment(&mut self, name: &'d Name, introspection: bool) -> Result<SelectionSize, RequestError> {
        match self.fragments.get(&(name, introspection)) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => {
                return Err(RequestError::invalid("query", format!("fragment `{name}` contains itself")));
            }
            None => {}
        }
        // The validation reports a fragment that does not exist.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(SelectionSize::default()) };
        self.fragments.insert((name, introspection), None);
        let size = self.selection(&fragment.node.selection_set.node, introspection)?;
        self.fragments.insert((name, introspection), Some(size));
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    const LIMITS: DocumentLimits = DocumentLimits { depth: 3, fields: 100 };

    fn checked(text: &str) -> Result<(), String> {
        check_text(text).map_err(|error| error.to_string())?;
        check(&parse_query(text).unwrap(), LIMITS).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_and_nesting_are_counted_through_fragments() {
        assert_eq!(checked("{ a { b { c } } }"), Ok(()));
        assert_eq!(checked("{ a { b { c { d } } } }"), Err("4 fields inside each other; the most is 3".into()));
        let text = "{ a { ...f } } fragment f on A { b { ...g } } fragment g on B { c { d } }";
        assert!(checked(text).unwrap_err().starts_with("4 fields inside"));
        let many: String = (0..101).map(|number| format!("a{number}: a ")).collect();
        assert!(checked(&format!("{{ {many} }}")).unwrap_err().starts_with("101 fields"));
    }

    #[test]
    fn nested_fragments_that_stand_for_too_many_fields_are_refused_at_once() {
        let mut text = "{ ...f0 } ".to_owned();
        for number in 0..60 {
            let next = number + 1;
            text.push_str(&format!("fragment f{number} on Q {{ ...f{next} ...f{next} }} "));
        }
        text.push_str("fragment f60 on Q { a }");
        assert!(checked(&text).unwrap_err().contains("fields, with fragments written out"));
        let text = "{ ...f } fragment f on Q { ...g } fragment g on Q { ...f }";
        assert!(checked(text).unwrap_err().contains("contains itself"));
    }

    #[test]
    fn introspection_is_free_in_depth_and_bounded_in_lists() {
        let deep = "{ __schema { types { fields { type { ofType { ofType { ofType { name } } } } } } } }";
        assert_eq!(checked(deep), Ok(()));
        let wide = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }";
        assert!(checked(wide).unwrap_err().contains("introspection"));
    }

    #[test]
    fn texts_are_bounded() {
        assert!(checked(&"{a".repeat(1_000)).unwrap_err().contains("nested deeper"));
        assert!(checked(&format!("{{ a(b: \"{}\") }}", "x".repeat(MAX_TEXT))).unwrap_err().contains("bytes of query"));
        let arguments: String = (0..17).map(|number| format!("a{number}: 1 ")).collect();
        assert!(checked(&format!("{{ a({arguments}) }}")).unwrap_err().contains("more than 16 arguments"));
    }
}
