//! Finds the entries in a reply, without copying anything of them.

use bytes::Bytes;

use super::reply::{ReplyToken, ReplyTokens};
use crate::log::entry::RawEntry;
use crate::log::value::position_text;

/// The entries in a reply to `XREAD` of one stream (nil or `[[key, entries]]`) or to `XRANGE` (the entries alone). Returns
/// None for a reply of another shape.
pub(in crate::log) fn entries_of(reply: &Bytes) -> Option<Vec<RawEntry>> {
    let mut tokens = ReplyTokens::new(reply);
    let ReplyToken::Array(count) = tokens.next()? else { return None };
    let Some(count) = count.filter(|count| *count > 0) else { return Some(Vec::new()) };
    let ReplyToken::Array(Some(2)) = tokens.next()? else { return None };
    let first = tokens.bulk()?;
    let ReplyToken::Array(Some(length)) = tokens.next()? else { return None };
    if let Some(position) = position_text(first) {
        let mut entries = Vec::with_capacity(count);
        entries.push(RawEntry::packed(position, fields_from(reply, &mut tokens, length)?));
        for _ in 1..count {
            entries.push(entry_from(reply, &mut tokens)?);
        }
        return Some(entries);
    }
    (0..length).map(|_| entry_from(reply, &mut tokens)).collect()
}

fn entry_from(reply: &Bytes, tokens: &mut ReplyTokens<'_>) -> Option<RawEntry> {
    let ReplyToken::Array(Some(2)) = tokens.next()? else { return None };
    let position = position_text(tokens.bulk()?)?;
    let ReplyToken::Array(Some(length)) = tokens.next()? else { return None };
    Some(RawEntry::packed(position, fields_from(reply, tokens, length)?))
}

/// The slice of the reply that holds the next `length` texts.
fn fields_from(reply: &Bytes, tokens: &mut ReplyTokens<'_>, length: usize) -> Option<Bytes> {
    let start = tokens.at();
    for _ in 0..length {
        tokens.bulk()?;
    }
    Some(reply.slice(start..tokens.at()))
}

#[cfg(test)]
mod tests {
    use millrace_core::position::Position;

    use super::*;

    #[test]
    fn all_shapes_of_a_reply_are_read() {
        let wanted = vec![RawEntry::new(Position::new(1, 2), &[("a", "b")])];
        let range = b"*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let read = [b"*1\r\n*2\r\n$3\r\nkey\r\n", &range[..]].concat();
        for answer in [&range[..], &read] {
            assert_eq!(entries_of(&Bytes::copy_from_slice(answer)), Some(wanted.clone()));
        }
        for nothing in [&b"*-1\r\n"[..], b"*0\r\n"] {
            assert_eq!(entries_of(&Bytes::from_static(nothing)), Some(Vec::new()));
        }
        assert_eq!(entries_of(&Bytes::from_static(b"+OK\r\n")), None);
    }
}
