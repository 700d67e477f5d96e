//! The least of HTTP/1.1 that a load generator needs: prebuilt requests, kept-alive connections, answers with a
//! `content-length`. It shares two cores with what it measures, so it parses nothing it does not need.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Room for an answer.
const BUFFER: usize = 64 * 1024;
/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The bytes of a GET.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// The bytes of a POST.
pub fn post(path: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n");
    format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A connection on a runtime.
pub struct Connection {
    stream: tokio::net::TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Sends a request and waits for the whole answer: status and body.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = Head::parse(&self.buffer)? {
                return Ok((head.status, &self.buffer[head.body..head.end]));
            }
        }
    }
}

/// A connection of a thread: wakes within some 50 µs of when it wants to, where a runtime's timer takes a millisecond.
pub struct Blocking {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Blocking {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: vec![0; BUFFER], filled: 0 })
    }

    /// As [`Connection::ask`].
    pub fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.filled = 0;
        self.stream.write_all(request)?;
        loop {
            if self.filled == self.buffer.len() {
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.filled += read,
            }
            if let Some(head) = Head::parse(&self.buffer[..self.filled])? {
                return Ok((head.status, &self.buffer[head.body..head.end]));
            }
        }
    }
}

/// Where the parts of an answer are.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body: usize,
    end: usize,
}

impl Head {
    /// None: the answer has not all come.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(lines) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..lines]).map_err(|_| no_answer())?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(no_answer)?;
        let length: usize = text.lines().find_map(content_length).ok_or_else(no_answer)?;
        let body = lines + 4;
        Ok((bytes.len() >= body + length).then_some(Self { status, body, end: body + length }))
    }
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no HTTP/1.1 answer with a content-length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(Head::parse(answer).unwrap(), Some(Head { status: 202, body: 44, end: 46 }));
        assert_eq!(Head::parse(&answer[..45]).unwrap(), None);
        assert_eq!(Head::parse(&answer[..20]).unwrap(), None);
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
