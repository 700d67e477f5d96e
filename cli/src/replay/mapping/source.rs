//! The mapping file as it is written: its fields and their order. Checking it is left to `bind`.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::replay::reader::Format;

/// A mapping file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingSource {
    pub name: Option<String>,
    pub file: PathBuf,
    pub format: Option<Format>,
    pub delimiter: Option<char>,
    pub event: String,
    pub source: Option<String>,
    pub time: Spanned<String>,
    pub id: Option<Spanned<String>>,
    pub filter: Option<Spanned<String>>,
    pub keys: Pairs<Spanned<String>>,
    #[serde(default)]
    pub properties: Pairs<Spanned<String>>,
    #[serde(default)]
    pub join: Vec<Spanned<JoinSource>>,
}

/// One of its joins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinSource {
    #[serde(rename = "as")]
    pub alias: String,
    pub file: PathBuf,
    pub format: Option<Format>,
    pub delimiter: Option<char>,
    pub on: Pairs<Spanned<String>>,
}

/// A YAML map in the order of the file.
#[derive(Debug)]
pub struct Pairs<T>(pub Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with expressions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
