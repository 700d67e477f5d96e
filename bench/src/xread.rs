//! Reads a log with `XREAD` alone, over one connection per partition: the rate at which Redis delivers entries to a reader that
//! ignores them. Answers are searched only for their end and their last id.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Entries asked for at once.
const COUNT: usize = 10_000;
const BUFFER: usize = 1024 * 1024;

/// Reads all streams to their ends. Returns the entries and the seconds.
pub async fn read_all(redis: SocketAddr, streams: Vec<String>) -> anyhow::Result<(u64, f64)> {
    let begun = Instant::now();
    let tasks: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(read(redis, stream))).collect();
    let mut entries = 0;
    for task in tasks {
        entries += task.await??;
    }
    Ok((entries, begun.elapsed().as_secs_f64()))
}

async fn read(redis: SocketAddr, stream: String) -> anyhow::Result<u64> {
    let mut connection = TcpStream::connect(redis).await?;
    connection.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    let (mut after, mut entries) = ("0-0".to_owned(), 0);
    loop {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(COUNT).arg("STREAMS").arg(&stream).arg(&after);
        connection.write_all(&command.get_packed_command()).await?;
        buffer.clear();
        let mut scan = Scan::new();
        while !scan.is_complete(&buffer)? {
            if connection.read_buf(&mut buffer).await? == 0 {
                bail!("redis closed the connection");
            }
        }
        let Some(last) = scan.last_id else { return Ok(entries) };
        entries += scan.entries;
        after = String::from_utf8_lossy(&buffer[last]).into_owned();
    }
}

/// How far an answer has been searched, so that no byte is searched twice.
struct Scan {
    at: usize,
    /// Values that must still come.
    left: usize,
    /// Kinds of the last two values: an id is the string between an array of two and another array.
    before: [u8; 2],
    string: Range<usize>,
    last_id: Option<Range<usize>>,
    entries: u64,
}

impl Scan {
    fn new() -> Self {
        Self { at: 0, left: 1, before: [0; 2], string: 0..0, last_id: None, entries: 0 }
    }

    fn is_complete(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        while self.left > 0 {
            let Some((kind, number, body)) = head(bytes, self.at)? else { return Ok(false) };
            let mut end = body;
            match kind {
                b'*' => {
                    let elements = usize::try_from(number).unwrap_or(0);
                    if self.before == [b'*', b'$'] && elements > 0 {
                        self.last_id = Some(self.string.clone());
                        self.entries += 1;
                    }
                    self.left += elements;
                }
                _ => {
                    let length = usize::try_from(number).context("a nil where a value was expected")?;
                    end = body + length + 2;
                    if end > bytes.len() {
                        return Ok(false);
                    }
                    self.string = body..body + length;
                }
            }
            self.before = [self.before[1], kind];
            self.left -= 1;
            self.at = end;
        }
        // The stream's key is where an id could be, so it was counted too.
        self.entries = self.entries.saturating_sub(1);
        Ok(true)
    }
}

/// The kind of the value at `at`, its number, and where its line ends. Returns None while the line is incomplete.
fn head(bytes: &[u8], at: usize) -> anyhow::Result<Option<(u8, i64, usize)>> {
    let Some((kind, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) else { return Ok(None) };
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let number = std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse().ok());
    match number.filter(|_| matches!(kind, b'*' | b'$')) {
        Some(number) => Ok(Some((*kind, number, at + 1 + end + 2))),
        None => bail!("redis answered {}", String::from_utf8_lossy(&rest[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"*1\r\n*2\r\n$3\r\nkey\r\n*2\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n\
        *2\r\n$3\r\n1-2\r\n*2\r\n$1\r\na\r\n$1\r\nc\r\n";

    #[test]
    fn an_answer_is_read_at_every_cut() {
        let mut scan = Scan::new();
        for end in 0..ANSWER.len() {
            assert!(!scan.is_complete(&ANSWER[..end]).unwrap());
        }
        assert!(scan.is_complete(ANSWER).unwrap());
        assert_eq!((scan.entries, &ANSWER[scan.last_id.unwrap()]), (2, &b"1-2"[..]));
    }

    #[test]
    fn the_end_of_a_stream_has_no_entries_and_an_error_is_an_error() {
        let mut scan = Scan::new();
        assert!(scan.is_complete(b"*-1\r\n").unwrap());
        assert_eq!((scan.entries, scan.last_id), (0, None));
        assert!(Scan::new().is_complete(b"-ERR no\r\n").is_err());
    }
}
