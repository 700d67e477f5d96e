//! Takes a reply of Redis apart (RESP2) without copying anything of it.

/// One piece of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::log) enum ReplyToken<'b> {
    /// The number of elements that follow. None is nil.
    Array(Option<usize>),
    /// Bytes. None is nil.
    Bulk(Option<&'b [u8]>),
    /// A status or a number.
    Line(&'b [u8]),
    /// An error.
    Error(&'b [u8]),
    /// Bytes that are not RESP2.
    Garbage,
}

/// The pieces of a reply, in order.
pub(in crate::log) struct ReplyTokens<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> ReplyTokens<'b> {
    pub(in crate::log) fn new(bytes: &'b [u8]) -> Self {
        Self::starting_at(bytes, 0)
    }

    /// The pieces from `at` on, where one begins.
    pub(in crate::log) fn starting_at(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The offset at which the next piece begins.
    pub(in crate::log) fn at(&self) -> usize {
        self.at
    }

    /// The next piece, which must be bytes.
    pub(in crate::log) fn bulk(&mut self) -> Option<&'b [u8]> {
        match self.next()? {
            ReplyToken::Bulk(bytes) => bytes,
            ReplyToken::Array(_) | ReplyToken::Line(_) | ReplyToken::Error(_) | ReplyToken::Garbage => None,
        }
    }

    /// The next piece. Returns None where it is not complete yet.
    pub(in crate::log) fn next(&mut self) -> Option<ReplyToken<'b>> {
        let (kind, rest) = self.bytes.get(self.at..)?.split_first()?;
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        // Past the kind, the line and its two end bytes.
        let after = self.at + 1 + end + 2;
        if after > self.bytes.len() {
            return None;
        }
        let line = &rest[..end];
        let token = match kind {
            b'*' => length(line).map_or(ReplyToken::Garbage, ReplyToken::Array),
            b'$' => match length(line) {
                Some(Some(bytes)) => {
                    let bulk = self.bytes.get(after..after + bytes)?;
                    self.bytes.get(after + bytes..after + bytes + 2)?;
                    self.at = after + bytes + 2;
                    return Some(ReplyToken::Bulk(Some(bulk)));
                }
                Some(None) => ReplyToken::Bulk(None),
                None => ReplyToken::Garbage,
            },
            b'+' | b':' => ReplyToken::Line(line),
            b'-' => ReplyToken::Error(line),
            _ => ReplyToken::Garbage,
        };
        self.at = after;
        Some(token)
    }
}

/// A length; `-1` is nil. Returns None for a text that is not a length.
fn length(line: &[u8]) -> Option<Option<usize>> {
    match line {
        b"-1" => Some(None),
        digits => digits
            .iter()
            .try_fold(0usize, |number, byte| {
                let digit = byte.wrapping_sub(b'0');
                if digit > 9 { None } else { number.checked_mul(10)?.checked_add(usize::from(digit)) }
            })
            .filter(|_| !digits.is_empty())
            .map(Some),
    }
}

/// The driver's error for an error line, with its code.
pub(in crate::log) fn server_error(line: &[u8]) -> redis::RedisError {
    let text = String::from_utf8_lossy(line);
    let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
    redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"*2\r\n$3\r\na\r\n\r\n*3\r\n:7\r\n$-1\r\n$0\r\n\r\n";

    #[test]
    fn a_reply_is_taken_apart() {
        let mut tokens = ReplyTokens::new(REPLY);
        let mut seen = Vec::new();
        while let Some(token) = tokens.next() {
            seen.push(token);
        }
        let wanted = [
            ReplyToken::Array(Some(2)),
            ReplyToken::Bulk(Some(b"a\r\n")),
            ReplyToken::Array(Some(3)),
            ReplyToken::Line(b"7"),
            ReplyToken::Bulk(None),
            ReplyToken::Bulk(Some(b"")),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(ReplyTokens::new(b"*-1\r\n").next(), Some(ReplyToken::Array(None)));
        assert_eq!(ReplyTokens::new(b"$x\r\n").next(), Some(ReplyToken::Garbage));
        assert_eq!(ReplyTokens::new(b"-ERR no\r\n").next(), Some(ReplyToken::Error(b"ERR no")));
    }
}
