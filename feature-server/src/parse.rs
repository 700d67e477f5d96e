//! Parses what requests say: entities, keys, lists of features. Every error names the field, says what is wrong, and lists
//! what would be right. Everything here depends on the definitions alone.

mod entity;
mod key;
mod names;
mod reference;
mod selection;
#[cfg(test)]
mod tests;

pub(crate) use entity::entity;
pub(crate) use key::{entity_and_key, json_keys, text_key, text_keys};
pub(crate) use names::resolve_names;
pub(crate) use reference::{joined, too_many_features};
pub(crate) use selection::{Selection, refuse_both};
