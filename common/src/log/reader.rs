//! Reading one partition: plain `XREAD` from a position, on a connection of its own, because a blocking call holds up
//! whatever shares it. Reading changes nothing in Redis. What entries mean is `millrace_core::entry`'s.

use std::time::Duration;

use millrace_core::partition::Partition;
use millrace_core::position::Position;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use super::error::{LogError, failed, unexpected};
use super::link::spoils;
use super::{Log, value};

/// How much longer than asked a blocking read may take before the connection counts as dead: Redis may overrun `BLOCK`.
const MARGIN: Duration = Duration::from_secs(5);

/// One entry as Redis holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place.
    pub position: Position,
    /// Its fields in order.
    pub fields: Result<Vec<(String, String)>, NotText>,
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
    connection: Option<MultiplexedConnection>,
}

impl Reader {
    /// Connects.
    pub async fn open(log: &Log, partition: Partition) -> Result<Self, LogError> {
        let connection = Some(log.connect().await?);
        Ok(Self { log: log.clone(), key: log.names().events(partition), connection })
    }

    /// At most `count` entries after `after`, in order; waits up to `block` for the first. None within it is no error.
    /// Safe to drop while it waits.
    pub async fn read(&mut self, after: Position, count: usize, block: Duration) -> Result<Vec<RawEntry>, LogError> {
        const DOING: &str = "read the log";
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(count);
        // To Redis, `BLOCK 0` means for ever.
        if block >= Duration::from_millis(1) {
            command.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(u64::MAX));
        }
        command.arg("STREAMS").arg(&self.key).arg(after.to_string());
        match self.ask(DOING, &command, block + MARGIN).await? {
            Value::Nil => Ok(Vec::new()),
            reply => only_stream(reply).and_then(raw_entries).ok_or_else(|| unexpected(DOING, &"no list of entries")),
        }
    }

    /// At most `count` entries up to and with `before`, newest first: for rebuilding what lies before a position.
    pub async fn range_back(&mut self, before: Position, count: usize) -> Result<Vec<RawEntry>, LogError> {
        const DOING: &str = "read the log backwards";
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg(before.to_string()).arg("-").arg("COUNT").arg(count);
        let reply = self.ask(DOING, &command, MARGIN).await?;
        raw_entries(reply).ok_or_else(|| unexpected(DOING, &"no list of entries"))
    }

    /// The oldest entry that has not been trimmed.
    pub async fn first_position(&mut self) -> Result<Option<Position>, LogError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.key).arg("-").arg("+").arg("COUNT").arg(1);
        self.end(&command).await
    }

    /// The newest entry.
    pub async fn last_position(&mut self) -> Result<Option<Position>, LogError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        self.end(&command).await
    }

    async fn end(&mut self, command: &Cmd) -> Result<Option<Position>, LogError> {
        const DOING: &str = "find an end of the log";
        let entries = raw_entries(self.ask(DOING, command, MARGIN).await?);
        let entries = entries.ok_or_else(|| unexpected(DOING, &"no list of entries"))?;
        Ok(entries.first().map(|entry| entry.position))
    }

    async fn ask(&mut self, doing: &'static str, command: &Cmd, timeout: Duration) -> Result<Value, LogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.log.connect().await?,
        };
        connection.set_response_timeout(timeout);
        let answer: Result<Value, _> = command.query_async(&mut connection).await;
        if !answer.as_ref().is_err_and(spoils) {
            self.connection = Some(connection);
        }
        answer.map_err(failed(doing))
    }
}

/// The entries of the one stream that was asked for.
fn only_stream(reply: Value) -> Option<Value> {
    value::array(reply)?.into_iter().next_back().and_then(|last| match last {
        // RESP2 answers [[key, entries]], RESP3 {key: entries}.
        Value::Array(mut pair) if pair.len() == 2 && matches!(pair.first(), Some(Value::BulkString(_))) => pair.pop(),
        entries => Some(entries),
    })
}

/// A list of entries, taken apart without copying their text.
pub(super) fn raw_entries(reply: Value) -> Option<Vec<RawEntry>> {
    let Value::Array(items) = reply else { return None };
    items.into_iter().map(raw_entry).collect()
}

fn raw_entry(item: Value) -> Option<RawEntry> {
    let Value::Array(parts) = item else { return None };
    let mut parts = parts.into_iter();
    let position = value::position(&parts.next()?)?;
    let Value::Array(texts) = parts.next()? else { return None };
    let mut fields = Vec::with_capacity(texts.len() / 2);
    let mut damaged = false;
    let mut texts = texts.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (texts.next(), texts.next()) {
        fields.push((owned(name, &mut damaged), owned(value, &mut damaged)));
    }
    let fields = if damaged { Err(NotText { lossy: fields }) } else { Ok(fields) };
    Some(RawEntry { position, fields })
}

fn owned(bytes: Vec<u8>, damaged: &mut bool) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        *damaged = true;
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    #[test]
    fn both_protocols_are_understood() {
        let entries = || Value::Array(vec![Value::Array(vec![text(b"1-2"), Value::Array(vec![text(b"a"), text(b"b")])])]);
        let wanted = vec![RawEntry { position: Position::new(1, 2), fields: Ok(vec![("a".into(), "b".into())]) }];
        let two = Value::Array(vec![Value::Array(vec![text(b"key"), entries()])]);
        let three = Value::Map(vec![(text(b"key"), entries())]);
        assert_eq!(only_stream(two).and_then(raw_entries), Some(wanted.clone()));
        assert_eq!(only_stream(three).and_then(raw_entries), Some(wanted));
    }

    #[test]
    fn bytes_that_are_no_text_are_told_apart_and_still_shown() {
        let entry = Value::Array(vec![text(b"1-2"), Value::Array(vec![text(b"a"), text(&[0xff, b'x'])])]);
        let entry = raw_entry(entry).unwrap();
        assert_eq!(entry.fields.unwrap_err().lossy, [("a".to_owned(), "\u{fffd}x".to_owned())]);
    }
}
