//! Completes an answer as GraphQL requires: fields in the order of the query, and no data at all where a root field that
//! must not be null failed. The library runs root fields concurrently, adds them in the order in which they end, and
//! leaves out those that failed. Fields below the root cannot fail, and are in order already.

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Name, PathSegment, Response, Value};

/// The names under which the root's fields are answered, in the order of the query. A name may occur more than once.
pub fn root_names(document: &ExecutableDocument, operation_name: Option<&str>) -> Vec<Name> {
    let mut names = Vec::new();
    if let Some(operation) = operation(document, operation_name) {
        collect(document, &operation.selection_set.node, &mut names);
    }
    names
}

/// The operation that is run. None where the library refuses the request because of the operation's name.
fn operation<'d>(document: &'d ExecutableDocument, name: Option<&str>) -> Option<&'d OperationDefinition> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(known, _)| known.is_some_and(|known| known == name)),
        None => operations.next(),
    };
    found.map(|(_, operation)| &operation.node)
}

fn collect(document: &ExecutableDocument, selection: &SelectionSet, names: &mut Vec<Name>) {
    for item in &selection.items {
        match &item.node {
            Selection::Field(field) => names.push(field.node.response_key().node.clone()),
            Selection::InlineFragment(inline) => collect(document, &inline.node.selection_set.node, names),
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect(document, &fragment.node.selection_set.node, names);
                }
            }
        }
    }
}

/// Puts the root's fields into the order of `names`. A field that failed and may be null is null by now. A field that
/// failed and is absent must not be null, so the whole data is null.
pub fn completed(mut response: Response, names: &[Name]) -> Response {
    let Value::Object(fields) = &mut response.data else { return response };
    let failed = response.errors.iter().any(|error| match error.path.as_slice() {
        [PathSegment::Field(name)] => !fields.contains_key(name.as_str()),
        _ => false,
    });
    if failed {
        response.data = Value::Null;
        return response;
    }
    *fields = names.iter().filter_map(|name| fields.swap_remove_entry(name)).collect();
    response
}
