//! Finds the properties that views read, in one pass over the JSON text and without building a tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::definitions::{EventType, PropertyPath};

/// For each of the type's `paths`, the raw JSON found there. A path through something that is no object is absent.
pub fn properties<'a>(event_type: &EventType, text: &'a str) -> Result<Vec<Option<&'a RawValue>>, serde_json::Error> {
    let mut found = vec![None; event_type.paths.len()];
    if !found.is_empty() {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let wanted = event_type.paths.iter().enumerate().collect();
        Level { depth: 0, wanted, found: &mut found }.deserialize(&mut deserializer)?;
        deserializer.end()?;
    }
    Ok(found)
}

/// One object of the text, and the paths that lead through it.
struct Level<'p, 'f, 'a> {
    depth: usize,
    wanted: Vec<(usize, &'p PropertyPath)>,
    found: &'f mut Vec<Option<&'a RawValue>>,
}

impl<'a> DeserializeSeed<'a> for Level<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Level<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<std::borrow::Cow<'a, str>>()? {
            let hits =
                || self.wanted.iter().filter(|(_, path)| path.segments.get(self.depth).is_some_and(|s| *s == name));
            if hits().next().is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw: &'a RawValue = map.next_value()?;
            let mut deeper = Vec::new();
            for (index, path) in hits() {
                if path.segments.len() == self.depth + 1 {
                    self.found[*index] = Some(raw);
                } else {
                    deeper.push((*index, *path));
                }
            }
            if !deeper.is_empty() && raw.get().starts_with('{') {
                let level = Level { depth: self.depth + 1, wanted: deeper, found: &mut *self.found };
                level
                    .deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
                    .map_err(serde::de::Error::custom)?;
            }
        }
        Ok(())
    }
}
