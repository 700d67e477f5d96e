//! Finds the entity that a request names.

use millrace_core::definitions::{Definitions, Entity};

use crate::error::{RequestError, list};

/// The entity of that name, and its index.
pub(crate) fn entity<'d>(definitions: &'d Definitions, name: &str) -> Result<(usize, &'d Entity), RequestError> {
    definitions.entity(name).ok_or_else(|| {
        let known = list(definitions.entities.iter().map(|entity| entity.name.as_str()));
        RequestError::unknown("entity", format!("no entity `{name}`; there is {known}"))
    })
}
