//! An entry as Redis holds it, before anybody has judged what it means.

use bytes::Bytes;
use millrace_core::position::Position;
use redis::Value;

use super::fast_path::ReplyTokens;
use super::value;

/// `\r\n`, after every length and every text.
const LINE_END: usize = 2;

/// One entry as Redis holds it: nothing of it is copied or read before it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place in the partition.
    pub position: Position,
    /// Names and values in turn, as Redis sent them: a slice of the reply, which lives as long as any of its entries.
    packed: Bytes,
}

impl RawEntry {
    /// An entry with these fields.
    pub fn new(position: Position, fields: &[(&str, &str)]) -> Self {
        let texts = fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        Self { position, packed: pack(texts) }
    }

    /// An entry whose fields are that slice of a reply.
    pub(super) fn packed(position: Position, packed: Bytes) -> Self {
        Self { position, packed }
    }

    /// Its fields, in order.
    pub fn fields(&self) -> Result<EntryFields<'_>, NotText> {
        // Lengths and line ends are ASCII, so all of it is text iff each name and value is.
        match std::str::from_utf8(&self.packed) {
            Ok(packed) => Ok(EntryFields { packed, tokens: ReplyTokens::new(&self.packed) }),
            Err(_) => {
                let mut tokens = ReplyTokens::new(&self.packed);
                let pairs = std::iter::from_fn(|| Some((tokens.bulk()?, tokens.bulk()?)));
                let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
                Err(NotText { lossy: pairs.map(|(name, value)| (lossy(name), lossy(value))).collect() })
            }
        }
    }
}

/// The names and values of an entry.
pub struct EntryFields<'e> {
    packed: &'e str,
    tokens: ReplyTokens<'e>,
}

impl<'e> EntryFields<'e> {
    fn text(&mut self) -> Option<&'e str> {
        let length = self.tokens.bulk()?.len();
        let end = self.tokens.at() - LINE_END;
        self.packed.get(end - length..end)
    }
}

impl<'e> Iterator for EntryFields<'e> {
    type Item = (&'e str, &'e str);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.text()?, self.text()?))
    }
}

/// An entry that is not UTF-8. Millrace writes none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry is not UTF-8 text")]
pub struct NotText {
    /// Its fields with `�` where the bytes are not UTF-8.
    pub lossy: Vec<(String, String)>,
}

/// The entries in the driver's reply to `XREAD` of one stream or to `XRANGE`. Returns None for a reply of another shape.
pub(super) fn entries_of_driver(reply: Value) -> Option<Vec<RawEntry>> {
    if reply == Value::Nil { Some(Vec::new()) } else { only_stream(reply).and_then(raw_entries) }
}

/// The list of entries in a reply to `XREAD`. A reply to `XRANGE` is one already.
fn only_stream(reply: Value) -> Option<Value> {
    let pair = match &reply {
        // RESP3 answers {key: entries}.
        Value::Map(pairs) => return pairs.first().map(|(_, entries)| entries.clone()),
        Value::Array(items) => items.first(),
        _ => return None,
    };
    let is_stream = matches!(pair, Some(Value::Array(pair))
        if matches!(pair.as_slice(), [name, Value::Array(_)] if value::position(name).is_none()));
    if !is_stream {
        return Some(reply);
    }
    match value::array(reply)?.pop()? {
        Value::Array(mut pair) => pair.pop(),
        _ => None,
    }
}

/// A list of entries.
pub(super) fn raw_entries(reply: Value) -> Option<Vec<RawEntry>> {
    let Value::Array(items) = reply else { return None };
    items.iter().map(raw_entry).collect()
}

fn raw_entry(item: &Value) -> Option<RawEntry> {
    let Value::Array(parts) = item else { return None };
    let [position, Value::Array(texts)] = parts.as_slice() else { return None };
    let texts =
        texts.iter().map_while(|text| if let Value::BulkString(bytes) = text { Some(&bytes[..]) } else { None });
    Some(RawEntry { position: value::position(position)?, packed: pack(texts) })
}

/// Texts in the form in which Redis sends them.
fn pack<'t>(texts: impl Iterator<Item = &'t [u8]>) -> Bytes {
    let mut packed = Vec::new();
    for text in texts {
        packed.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
        packed.extend_from_slice(text);
        packed.extend_from_slice(b"\r\n");
    }
    packed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    #[test]
    fn all_shapes_of_the_drivers_reply_are_read() {
        let entries =
            || Value::Array(vec![Value::Array(vec![text(b"1-2"), Value::Array(vec![text(b"a"), text(b"b")])])]);
        let wanted = vec![RawEntry::new(Position::new(1, 2), &[("a", "b")])];
        assert_eq!(wanted[0].fields().unwrap().collect::<Vec<_>>(), [("a", "b")]);
        let two = Value::Array(vec![Value::Array(vec![text(b"key"), entries()])]);
        let three = Value::Map(vec![(text(b"key"), entries())]);
        for reply in [two, three, entries()] {
            assert_eq!(only_stream(reply).and_then(raw_entries), Some(wanted.clone()));
        }
    }

    #[test]
    fn an_entry_that_is_not_text_is_shown_as_far_as_it_can_be() {
        let entry = Value::Array(vec![text(b"1-2"), Value::Array(vec![text(b"a"), text(&[0xff, b'x'])])]);
        let entry = raw_entry(&entry).unwrap();
        assert_eq!(entry.fields().err().unwrap().lossy, [("a".to_owned(), "\u{fffd}x".to_owned())]);
    }
}
