//! Reading one partition: plain `XREAD` from a position, on a connection of its own, because a blocking call holds up
//! whatever shares it. Reading changes nothing in Redis. What entries mean is `millrace_core::entry`'s.

use std::time::Duration;

use bytes::Bytes;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};

use super::error::{LogError, failed, unexpected};
use super::link::spoils;
use super::wire::{Token, Tokens, Wire};
use super::{Log, value};

/// How much longer than asked a blocking read may take before the connection counts as dead: Redis may overrun `BLOCK`.
const MARGIN: Duration = Duration::from_secs(5);

/// `\r\n`, after every length and every text.
const LINE_END: usize = 2;

/// One entry as Redis holds it: nothing of it is copied or looked at before it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place.
    pub position: Position,
    /// Names and values in turn, as Redis sent them: a slice of the answer, which lives as long as any entry of it.
    packed: Bytes,
}

impl RawEntry {
    /// An entry with those fields.
    pub fn new(position: Position, fields: &[(&str, &str)]) -> Self {
        let texts = fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        Self { position, packed: packed(texts) }
    }

    /// Its fields in order.
    pub fn fields(&self) -> Result<Fields<'_>, NotText> {
        // Lengths and line ends are ASCII, so all of it is text iff each name and value is.
        match std::str::from_utf8(&self.packed) {
            Ok(packed) => Ok(Fields { packed, tokens: Tokens::new(&self.packed) }),
            Err(_) => {
                let mut tokens = Tokens::new(&self.packed);
                let pairs = std::iter::from_fn(|| Some((bulk(&mut tokens)?, bulk(&mut tokens)?)));
                let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
                Err(NotText { lossy: pairs.map(|(name, value)| (lossy(name), lossy(value))).collect() })
            }
        }
    }
}

/// The names and values of an entry.
pub struct Fields<'e> {
    packed: &'e str,
    tokens: Tokens<'e>,
}

impl<'e> Fields<'e> {
    fn text(&mut self) -> Option<&'e str> {
        let length = bulk(&mut self.tokens)?.len();
        let end = self.tokens.at() - LINE_END;
        self.packed.get(end - length..end)
    }
}

impl<'e> Iterator for Fields<'e> {
    type Item = (&'e str, &'e str);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.text()?, self.text()?))
    }
}

/// An entry with bytes that are no UTF-8: none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry is not UTF-8 text")]
pub struct NotText {
    /// Its fields with `�` where the bytes make no sense.
    pub lossy: Vec<(String, String)>,
}

/// Reads one partition.
pub struct Reader {
    log: Log,
    key: String,
    /// Taken out while a call is under way: a call that is dropped takes its connection with it, and the next one
    /// makes another, so no answer is ever taken for that of a later call.
    connection: Option<Connection>,
}

enum Connection {
    Wire(Wire),
    Driver(MultiplexedConnection),
}

impl Reader {
    /// Connects.
    pub async fn open(log: &Log, partition: Partition) -> Result<Self, LogError> {
        let connection = Some(Connection::open(log).await?);
        Ok(Self { log: log.clone(), key: log.names().events(partition), connection })
    }

    /// At most `count` entries after `after`, in order; waits up to `block` for the first. None within it is no error.
    /// Safe to drop while it waits.
    pub async fn read(&mut self, after: Position, count: usize, block: Duration) -> Result<Vec<RawEntry>, LogError> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(count);
        // To Redis, `BLOCK 0` means for ever.
        if block >= Duration::from_millis(1) {
            command.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(u64::MAX));
        }
        command.arg("STREAMS").arg(&self.key).arg(after.to_string());
        self.entries("read the log", &command, block + MARGIN).await
    }

    /// At most `count` entries up to and with `before`, newest first: for rebuilding what lies before a position.
    pub async fn range_back(&mut self, before: Position, count: usize) -> Result<Vec<RawEntry>, LogError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg(before.to_string()).arg("-").arg("COUNT").arg(count);
        self.entries("read the log backwards", &command, MARGIN).await
    }

    /// The oldest entry that has not been trimmed.
    pub async fn first_position(&mut self) -> Result<Option<Position>, LogError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.key).arg("-").arg("+").arg("COUNT").arg(1);
        Ok(self.entries("find the oldest entry", &command, MARGIN).await?.first().map(|entry| entry.position))
    }

    /// The newest entry.
    pub async fn last_position(&mut self) -> Result<Option<Position>, LogError> {
        let newest = self.range_back(Position::new(u64::MAX, u64::MAX), 1).await?;
        Ok(newest.first().map(|entry| entry.position))
    }

    async fn entries(
        &mut self,
        doing: &'static str,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<Vec<RawEntry>, LogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.log).await?,
        };
        let answer = connection.entries(command, timeout).await;
        if !answer.as_ref().is_err_and(spoils) {
            self.connection = Some(connection);
        }
        answer.map_err(failed(doing))?.ok_or_else(|| unexpected(doing, &"no list of entries"))
    }
}

impl Connection {
    async fn open(log: &Log) -> Result<Self, LogError> {
        match log.link_ref().connect_wire().await? {
            Some(wire) => Ok(Self::Wire(wire)),
            None => log.connect().await.map(Self::Driver),
        }
    }

    /// The entries that the command answers, of the one stream that it names. None: an answer of another shape.
    async fn entries(&mut self, command: &Cmd, timeout: Duration) -> RedisResult<Option<Vec<RawEntry>>> {
        match self {
            Self::Wire(wire) => wire.call(command, timeout).await.map(|answer| entries_from(&answer)),
            Self::Driver(connection) => {
                connection.set_response_timeout(timeout);
                let reply: Value = command.query_async(connection).await?;
                Ok(if reply == Value::Nil { Some(Vec::new()) } else { only_stream(reply).and_then(raw_entries) })
            }
        }
    }
}

/// `XREAD` answers nil or `[[key, entries]]`, `XRANGE` the entries alone.
fn entries_from(answer: &Bytes) -> Option<Vec<RawEntry>> {
    let mut tokens = Tokens::new(answer);
    let Token::Array(count) = tokens.next()? else { return None };
    let Some(count) = count.filter(|count| *count > 0) else { return Some(Vec::new()) };
    let Token::Array(Some(2)) = tokens.next()? else { return None };
    let first = bulk(&mut tokens)?;
    let Token::Array(Some(length)) = tokens.next()? else { return None };
    if let Some(position) = value::position_text(first) {
        let mut entries = Vec::with_capacity(count);
        entries.push(RawEntry { position, packed: fields_from(answer, &mut tokens, length)? });
        for _ in 1..count {
            entries.push(entry_from(answer, &mut tokens)?);
        }
        return Some(entries);
    }
    (0..length).map(|_| entry_from(answer, &mut tokens)).collect()
}

fn entry_from(answer: &Bytes, tokens: &mut Tokens<'_>) -> Option<RawEntry> {
    let Token::Array(Some(2)) = tokens.next()? else { return None };
    let position = value::position_text(bulk(tokens)?)?;
    let Token::Array(Some(length)) = tokens.next()? else { return None };
    Some(RawEntry { position, packed: fields_from(answer, tokens, length)? })
}

/// The slice of the answer that holds the next `length` texts.
fn fields_from(answer: &Bytes, tokens: &mut Tokens<'_>, length: usize) -> Option<Bytes> {
    let start = tokens.at();
    for _ in 0..length {
        bulk(tokens)?;
    }
    Some(answer.slice(start..tokens.at()))
}

fn bulk<'b>(tokens: &mut Tokens<'b>) -> Option<&'b [u8]> {
    match tokens.next()? {
        Token::Bulk(bytes) => bytes,
        _ => None,
    }
}

/// The entries in the driver's answer to `XREAD`, or that of `XRANGE` as it is.
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
    Some(RawEntry { position: value::position(position)?, packed: packed(texts) })
}

/// Texts as Redis sends them.
fn packed<'t>(texts: impl Iterator<Item = &'t [u8]>) -> Bytes {
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
    fn all_shapes_of_an_answer_are_understood() {
        let entries =
            || Value::Array(vec![Value::Array(vec![text(b"1-2"), Value::Array(vec![text(b"a"), text(b"b")])])]);
        let wanted = vec![RawEntry::new(Position::new(1, 2), &[("a", "b")])];
        assert_eq!(wanted[0].fields().unwrap().collect::<Vec<_>>(), [("a", "b")]);
        let two = Value::Array(vec![Value::Array(vec![text(b"key"), entries()])]);
        let three = Value::Map(vec![(text(b"key"), entries())]);
        for reply in [two, three, entries()] {
            assert_eq!(only_stream(reply).and_then(raw_entries), Some(wanted.clone()));
        }
        let range = b"*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let read = [b"*1\r\n*2\r\n$3\r\nkey\r\n", &range[..]].concat();
        for answer in [&range[..], &read] {
            assert_eq!(entries_from(&Bytes::copy_from_slice(answer)), Some(wanted.clone()));
        }
        for nothing in [&b"*-1\r\n"[..], b"*0\r\n"] {
            assert_eq!(entries_from(&Bytes::from_static(nothing)), Some(Vec::new()));
        }
        assert_eq!(entries_from(&Bytes::from_static(b"+OK\r\n")), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_told_apart_and_still_shown() {
        let entry = Value::Array(vec![text(b"1-2"), Value::Array(vec![text(b"a"), text(&[0xff, b'x'])])]);
        let entry = raw_entry(&entry).unwrap();
        assert_eq!(entry.fields().err().unwrap().lossy, [("a".to_owned(), "\u{fffd}x".to_owned())]);
    }
}
