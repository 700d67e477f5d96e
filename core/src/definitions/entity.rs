//! Entities: the things that features describe, and their keys.

use crate::key::{InvalidKey, KeyText, KeyType};

/// A thing that features describe.
#[derive(Debug, PartialEq)]
pub struct Entity {
    /// Its name, used in keys and URLs.
    pub name: String,
    /// The fields that make its key, in order, with their types.
    pub key: Vec<(String, KeyType)>,
    /// For people.
    pub description: String,
}

impl Entity {
    /// Reads a key as people and URLs give it.
    pub fn parse_key(&self, text: &str) -> Result<KeyText, InvalidKey> {
        let types: Vec<KeyType> = self.key.iter().map(|(_, kind)| *kind).collect();
        KeyText::parse(&types, text)
    }

    /// Whether a text is the canonical one of a key.
    pub fn is_canonical(&self, text: &str) -> bool {
        KeyText::is_canonical(self.key.iter().map(|(_, kind)| *kind), text)
    }
}
