//! Finds the properties that views read, in one pass over the JSON text. Builds no tree and copies no text. Reading a
//! property as its type is left to [`crate::scalar`].

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::definitions::{EventType, PropertyPath};

/// For each of the type's `paths`, the raw JSON found there. A path through a value that is not an object finds nothing.
pub fn properties<'a>(event_type: &EventType, text: &'a str) -> Result<Vec<Option<&'a RawValue>>, serde_json::Error> {
    find(&event_type.paths, text)
}

fn find<'a>(paths: &[PropertyPath], text: &'a str) -> Result<Vec<Option<&'a RawValue>>, serde_json::Error> {
    let mut found = vec![None; paths.len()];
    if !found.is_empty() {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Level { paths, prefix: &[], found: &mut found }.deserialize(&mut deserializer)?;
        deserializer.end()?;
    }
    Ok(found)
}

/// One object of the text: the one at the path `prefix`.
struct Level<'p, 'f, 'a> {
    paths: &'p [PropertyPath],
    prefix: &'p [String],
    found: &'f mut [Option<&'a RawValue>],
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
        let depth = self.prefix.len();
        while let Some(name) = map.next_key_seed(Name { paths: self.paths, prefix: self.prefix })? {
            let Some(prefix) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let raw: &'a RawValue = map.next_value()?;
            let mut deeper = false;
            for (path, found) in self.paths.iter().zip(&mut *self.found) {
                if path.segments == prefix {
                    *found = Some(raw);
                } else if path.segments.len() > depth + 1 && path.segments.starts_with(prefix) {
                    deeper = true;
                }
            }
            if deeper && raw.get().starts_with('{') {
                let level = Level { paths: self.paths, prefix, found: &mut *self.found };
                level.deserialize(&mut serde_json::Deserializer::from_str(raw.get())).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}

/// Reads a member's name. When a path leads through the member, the result is the path up to and including it.
struct Name<'p> {
    paths: &'p [PropertyPath],
    prefix: &'p [String],
}

impl<'p, 'a> DeserializeSeed<'a> for Name<'p> {
    type Value = Option<&'p [String]>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Name<'p> {
    type Value = Option<&'p [String]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let depth = self.prefix.len();
        let through = self.paths.iter().find(|path| {
            path.segments.get(depth).is_some_and(|segment| segment == name) && path.segments.starts_with(self.prefix)
        });
        Ok(through.map(|path| &path.segments[..=depth]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(paths: &[&str], text: &'a str) -> Vec<Option<&'a str>> {
        let path = |path: &&str| PropertyPath { segments: path.split('.').map(str::to_owned).collect(), decimal: None };
        let paths: Vec<PropertyPath> = paths.iter().map(path).collect();
        find(&paths, text).unwrap().into_iter().map(|raw| raw.map(RawValue::get)).collect()
    }

    #[test]
    fn paths_are_found_at_every_depth_and_differ_from_the_same_name_elsewhere() {
        let text = r#"{"b":{"a":1,"c":{"a":"x"}},"skip":[{"a":9}],"a":1.50,"\u0064":true,"c":{"a":3}}"#;
        let paths = ["a", "b.a", "b.c.a", "b.c", "d", "e", "a.b", "c.a"];
        let wanted =
            [Some("1.50"), Some("1"), Some("\"x\""), Some("{\"a\":\"x\"}"), Some("true"), None, None, Some("3")];
        assert_eq!(found(&paths, text), wanted);
    }

    #[test]
    fn a_text_that_is_not_an_object_is_refused() {
        let paths = [PropertyPath { segments: vec!["a".to_owned()], decimal: None }];
        for text in ["[]", "{", "{} {}", "{\"a\":}"] {
            assert!(find(&paths, text).is_err(), "{text}");
        }
        assert!(find(&[], "not read").is_ok());
    }
}
