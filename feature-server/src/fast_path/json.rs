//! Writes JSON into one buffer. Names are written without escapes: definitions allow only a-z, 0-9 and _ in them, and
//! references add `@` and `:`.

use millrace_core::definitions::Entity;
use millrace_core::key::{KeyText, KeyType};
use millrace_core::scalar::int_json;
use serde::Serialize;

use crate::instant::rfc3339;

/// The result of writing a value.
pub type JsonResult = Result<(), serde_json::Error>;

/// A document while it is written. A comma follows each value, and the end of the object or list removes the last one.
#[derive(Default)]
pub struct JsonWriter {
    bytes: Vec<u8>,
    /// The last instant and its text. The features of a view share one instant, so it is often the next one too.
    instant: Option<(i64, String)>,
}

impl JsonWriter {
    /// Reserves room for a document of that length.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), instant: None }
    }

    /// Writes an object, of which `write` writes the names and values.
    pub fn object(&mut self, write: impl FnOnce(&mut Self) -> JsonResult) -> JsonResult {
        self.enclosed(b'{', b'}', write)
    }

    /// Writes a list, of which `write` writes the values.
    pub fn list(&mut self, write: impl FnOnce(&mut Self) -> JsonResult) -> JsonResult {
        self.enclosed(b'[', b']', write)
    }

    /// Writes the name of the value that comes next.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.quoted(name);
        self.bytes.push(b':');
        self
    }

    /// Writes any value.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> JsonResult {
        serde_json::to_writer(&mut self.bytes, value)?;
        self.bytes.push(b',');
        Ok(())
    }

    /// Writes a text in which no character needs an escape.
    pub fn plain(&mut self, text: &str) {
        self.quoted(text);
        self.bytes.push(b',');
    }

    /// Writes an instant in epoch ms as RFC 3339, to the millisecond.
    pub fn instant(&mut self, ms: i64) {
        let text = match self.instant.take() {
            Some((last, text)) if last == ms => text,
            _ => rfc3339(ms),
        };
        self.plain(&text);
        self.instant = Some((ms, text));
    }

    /// Writes an instant, or null.
    pub fn maybe_instant(&mut self, ms: Option<i64>) -> JsonResult {
        match ms {
            Some(ms) => self.instant(ms),
            None => self.value(&())?,
        }
        Ok(())
    }

    /// Writes a key as readers write it: an integer as a number, a text as it is, a composite key as its canonical text.
    pub fn key(&mut self, entity: &Entity, key: &KeyText) -> JsonResult {
        match entity.key.as_slice() {
            [(_, KeyType::Int64)] => self.key_part(KeyType::Int64, key.as_str()),
            [(_, kind)] => self.key_part(*kind, key.parts().first().map_or("", String::as_str)),
            _ => self.value(key.as_str()),
        }
    }

    /// Writes one part of a key.
    pub fn key_part(&mut self, kind: KeyType, text: &str) -> JsonResult {
        match (kind, text.parse::<i64>()) {
            (KeyType::Int64, Ok(int)) => self.value(&int_json(int.into())),
            _ => self.value(text),
        }
    }

    /// The document.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.pop_if(|last| *last == b',');
        self.bytes
    }

    fn enclosed(&mut self, open: u8, close: u8, write: impl FnOnce(&mut Self) -> JsonResult) -> JsonResult {
        self.bytes.push(open);
        write(self)?;
        self.bytes.pop_if(|last| *last == b',');
        self.bytes.extend([close, b',']);
        Ok(())
    }

    fn quoted(&mut self, text: &str) {
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn written(write: impl FnOnce(&mut JsonWriter) -> JsonResult) -> String {
        let mut json = JsonWriter::default();
        write(&mut json).unwrap();
        String::from_utf8(json.finish()).unwrap()
    }

    #[test]
    fn a_document_is_the_one_that_a_tree_would_make() {
        let values = json!({ "empty": {}, "list": [1, "a,b\"", null], "none": [], "text": "ä\n," });
        let text = written(|json| {
            json.object(|json| {
                json.name("empty").object(|_| Ok(()))?;
                json.name("list")
                    .list(|json| values["list"].as_array().unwrap().iter().try_for_each(|v| json.value(v)))?;
                json.name("none").list(|_| Ok(()))?;
                json.name("text").value(&values["text"])
            })
        });
        assert_eq!(text, values.to_string());
    }

    #[test]
    fn keys_are_numbers_texts_or_canonical_texts() {
        let entity = |parts: &[KeyType]| Entity {
            name: "e".into(),
            key: parts.iter().map(|kind| ("k".to_owned(), *kind)).collect(),
            description: String::new(),
        };
        for (parts, key, expected) in [
            (vec![KeyType::Int64], "-7", json!(-7)),
            (vec![KeyType::Int64], "9007199254740993", json!("9007199254740993")),
            (vec![KeyType::String], "50%25%2Foff", json!("50%/off")),
            (vec![KeyType::String], "7", json!("7")),
            (vec![KeyType::String, KeyType::Int64], "a%2Cb,7", json!("a%2Cb,7")),
        ] {
            let text = written(|json| json.key(&entity(&parts), &KeyText::from_canonical(key)));
            assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), expected);
        }
    }

    #[test]
    fn instants_are_utc_to_the_millisecond() {
        let text = written(|json| {
            json.list(|json| {
                [0, 0, 1_700_000_000_123, i64::MAX].into_iter().for_each(|ms| json.instant(ms));
                Ok(())
            })
        });
        let expected = r#"["1970-01-01T00:00:00.000Z","1970-01-01T00:00:00.000Z","2023-11-14T22:13:20.123Z","9223372036854775807"]"#;
        assert_eq!(text, expected);
    }
}
