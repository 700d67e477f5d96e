//! How large a document may be, looked at before anything else is done with it. Fragments are spelled out by counting,
//! not by walking: a few nested ones can mean more fields than a day has microseconds.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};

use crate::error::RequestError;

/// The longest text. Validation is quadratic in places; lists of keys belong into variables.
pub const MAX_TEXT: usize = 128 * 1024;
/// The deepest nesting of brackets, which the parser follows by recursion.
const MAX_NESTING: usize = 64;
/// Arguments of one field; ours have five.
const MAX_ARGUMENTS: usize = 16;
/// Lists inside each other that an introspection may follow: more than tools do, and less than makes answers explode.
const MAX_INTROSPECTED: usize = 2;
/// What leads from a type to a list of others.
const LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

/// What one document may ask for.
#[derive(Clone, Copy, Debug)]
pub struct DocumentLimits {
    /// Fields inside each other; those of an introspection are free.
    pub depth: usize,
    /// Fields, fragments spelled out.
    pub fields: usize,
}

/// What a selection comes to.
#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    fields: usize,
    introspected: usize,
}

/// Refuses a text that is not worth parsing.
pub fn check_text(text: &str) -> Result<(), RequestError> {
    if text.len() > MAX_TEXT {
        let error = format!("{} bytes of query; the most is {MAX_TEXT}, give long lists as variables", text.len());
        return Err(RequestError::invalid("query", error));
    }
    // Brackets in strings and comments count too: an answer may be wrong only for texts that nobody writes.
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

/// Refuses a document that asks for too much.
pub fn check(document: &ExecutableDocument, limits: DocumentLimits) -> Result<(), RequestError> {
    let mut counter = Counter { document, fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        let size = counter.selection(&operation.node.selection_set.node, false)?;
        let DocumentLimits { depth, fields } = limits;
        let refuse = |error: String| Err(RequestError::invalid("query", error));
        if size.depth > depth {
            return refuse(format!("{} fields inside each other; the most is {depth}", size.depth));
        }
        if size.fields > fields {
            return refuse(format!("{} fields, fragments spelled out; the most is {fields}", size.fields));
        }
        if size.introspected > MAX_INTROSPECTED {
            return refuse(format!("an introspection may follow {MAX_INTROSPECTED} lists inside each other"));
        }
    }
    Ok(())
}

struct Counter<'d> {
    document: &'d ExecutableDocument,
    /// By name, and whether they stand in an introspection; none while they are counted.
    fragments: HashMap<(&'d Name, bool), Option<Size>>,
}

impl<'d> Counter<'d> {
    fn selection(&mut self, selection: &'d SelectionSet, introspection: bool) -> Result<Size, RequestError> {
        let mut all = Size::default();
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

    fn field(&mut self, field: &'d Field, introspection: bool) -> Result<Size, RequestError> {
        if field.arguments.len() > MAX_ARGUMENTS {
            let error = format!("field `{}` has more than {MAX_ARGUMENTS} arguments", field.name.node);
            return Err(RequestError::invalid("query", error));
        }
        let name = field.name.node.as_str();
        let introspection = introspection || name.starts_with("__");
        let below = self.selection(&field.selection_set.node, introspection)?;
        Ok(Size {
            depth: if introspection { 0 } else { below.depth + 1 },
            fields: below.fields.saturating_add(1),
            introspected: below.introspected + usize::from(introspection && LISTS.contains(&name)),
        })
    }

    fn fragment(&mut self, name: &'d Name, introspection: bool) -> Result<Size, RequestError> {
        match self.fragments.get(&(name, introspection)) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => {
                return Err(RequestError::invalid("query", format!("fragment `{name}` contains itself")));
            }
            None => {}
        }
        // One that is not there is told by the validation.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Size::default()) };
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
    fn fragments_that_explode_are_refused_at_once() {
        let mut text = "{ ...f0 } ".to_owned();
        for number in 0..60 {
            let next = number + 1;
            text.push_str(&format!("fragment f{number} on Q {{ ...f{next} ...f{next} }} "));
        }
        text.push_str("fragment f60 on Q { a }");
        assert!(checked(&text).unwrap_err().contains("fields, fragments spelled out"));
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
