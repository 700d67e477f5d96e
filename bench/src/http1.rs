//! The small part of HTTP/1.1 that a load generator needs: prebuilt requests, kept-alive connections, answers with a
//! `content-length`. It runs on the same two cores as the server it measures, so it parses as little as possible.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::bail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connection::Connection;

/// The first size of the buffer for answers.
const BUFFER: usize = 64 * 1024;
/// How long an answer may take.
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

/// A connection on a runtime, with one request in flight.
pub struct HttpConnection {
    stream: tokio::net::TcpStream,
    to_send: Vec<u8>,
    received: Vec<u8>,
}

impl HttpConnection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, to_send: Vec::new(), received: Vec::with_capacity(BUFFER) })
    }
}

impl Connection for HttpConnection {
    fn begin(&mut self, request: &[u8]) -> u32 {
        self.to_send.extend_from_slice(request);
        0
    }

    async fn answered(&mut self, numbers: &mut Vec<u32>) -> anyhow::Result<()> {
        self.stream.write_all(&self.to_send).await?;
        self.to_send.clear();
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(head) = Head::parse(&self.received)? {
                numbers.push(0);
                return accepted(head.status, &self.received[head.body..head.end]);
            }
        }
    }
}

/// A connection of a thread. A thread wakes within some 50 µs of the time it asked for; a runtime's timer takes a
/// millisecond.
pub struct BlockingHttp {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl BlockingHttp {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: vec![0; BUFFER], filled: 0 })
    }

    /// Sends a request and waits for the whole answer: status and body.
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

/// Fails unless the answer is a 2xx: a load that is refused measures nothing.
pub fn accepted(status: u16, body: &[u8]) -> anyhow::Result<()> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
    bail!("a request was answered {status}: {text}")
}

/// Where the parts of an answer are.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body: usize,
    end: usize,
}

impl Head {
    /// Returns None while the answer is incomplete.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(lines) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..lines]).map_err(|_| invalid())?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
        let length: usize = text.lines().find_map(content_length).ok_or_else(invalid)?;
        let body = lines + 4;
        Ok((bytes.len() >= body + length).then_some(Self { status, body, end: body + length }))
    }
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1 with a content-length")
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
