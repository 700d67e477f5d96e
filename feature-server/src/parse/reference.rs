//! Finds the features that references name: `view:feature` or `view@2:feature`.

use millrace_core::definitions::{Definitions, VersionedName};

use crate::error::{RequestError, list};

/// The (view, feature) indices of a reference. `entity` narrows the views that an error lists.
pub(super) fn feature(
    definitions: &Definitions,
    entity: Option<usize>,
    field: &str,
    reference: &str,
) -> Result<(usize, usize), RequestError> {
    let found = definitions.feature(reference);
    found.ok_or_else(|| RequestError::unknown(field, unknown_feature(definitions, entity, reference)))
}

/// A list of references as one text, as a query string has it.
pub(crate) fn joined(names: &[String]) -> Result<String, RequestError> {
    if names.is_empty() {
        return Err(RequestError::invalid("features", "expected at least one feature; leave it out for all"));
    }
    match names.iter().find(|name| name.contains(',')) {
        Some(name) => {
            let error = format!("`{name}` is not a feature; write one feature per item");
            Err(RequestError::unknown("features", error))
        }
        None => Ok(names.join(",")),
    }
}

/// The refusal of a request that names too many features.
pub(crate) fn too_many_features(field: &str, most: usize) -> RequestError {
    RequestError::invalid(field, format!("more than {most} features in one request"))
}

/// Says which part of a reference names nothing, and what it could name.
fn unknown_feature(definitions: &Definitions, entity: Option<usize>, reference: &str) -> String {
    let Some((view, feature)) = reference.split_once(':') else {
        return format!("`{reference}` is not a feature; write `view:feature` or `view@2:feature`");
    };
    match VersionedName::parse(view).and_then(|named| definitions.view(named.name, named.version)) {
        Some((_, declared)) => {
            let known = list(declared.features.iter().map(|feature| feature.name.as_str()));
            format!("no feature `{feature}` in view `{view}`; there is {known}")
        }
        None => {
            let views = definitions.views.iter().filter(|view| entity.is_none_or(|entity| view.entity == entity));
            let known = list(views.map(|view| view.id()));
            let of = entity.map_or_else(String::new, |entity| format!(" of {}", definitions.entities[entity].name));
            format!("no view `{view}`{of}; there is {known}")
        }
    }
}
