//! The small part of HTTP/2 that a load of unary gRPC calls needs: prebuilt frames, and answers that are searched for their
//! end. Like [`crate::http1`] it runs on the same two cores as the server it measures, so it does nothing more.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::bail;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connection::Connection;

/// Room for answers.
const BUFFER: usize = 64 * 1024;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Length, type, flags and stream.
const FRAME_HEAD: usize = 9;
/// The largest window there is: a load ends before it is used up.
const WINDOW: u32 = (1 << 31) - 1;
const DEFAULT_WINDOW: u32 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The frames of a call of `method` (`/package.Service/Method`); the number of the stream is written into them when
/// the call is sent.
pub fn call(method: &str, message: &[u8]) -> Vec<u8> {
    // HPACK, nothing kept in a table: POST, http, then names of the static table (or none) with literal values.
    let mut headers = vec![0x83, 0x86];
    let mut field = |name: &[u8], value: &str| {
        headers.extend_from_slice(name);
        headers.push(u8::try_from(value.len()).unwrap_or(0x7e));
        headers.extend_from_slice(value.as_bytes());
    };
    field(&[0x04], method);
    field(&[0x01], "localhost");
    field(&[0x0f, 0x10], "application/grpc");
    field(b"\x00\x02te", "trailers");
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(message);
    let mut frames = frame(HEADERS, END_HEADERS, &headers);
    frames.extend(frame(DATA, END_STREAM, &body));
    frames
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 0];
    [&head, payload].concat()
}

/// The first bytes of a client: they lift the limits on answers.
fn preface() -> Vec<u8> {
    let mut first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let initial_window_size = [&[0, 4], &WINDOW.to_be_bytes()[..]].concat();
    first.extend(frame(SETTINGS, 0, &initial_window_size));
    first.extend(frame(WINDOW_UPDATE, 0, &(WINDOW - DEFAULT_WINDOW).to_be_bytes()));
    first
}

/// One connection without its socket: the bytes to send, and the bytes received.
struct Http2Wire {
    received: BytesMut,
    to_send: Vec<u8>,
    next: u32,
    /// For each open stream, whether a message has arrived.
    open: HashMap<u32, bool>,
}

impl Http2Wire {
    fn new() -> Self {
        let received = BytesMut::with_capacity(BUFFER);
        Self { received, to_send: preface(), next: 1, open: HashMap::new() }
    }

    /// Queues a call. Returns its stream.
    fn begin(&mut self, call: &[u8]) -> u32 {
        let stream = self.next;
        self.next += 2;
        let headers = self.to_send.len();
        self.to_send.extend_from_slice(call);
        let length = usize::from(call[1]) << 8 | usize::from(call[2]);
        for head in [headers, headers + FRAME_HEAD + length] {
            self.to_send[head + 5..head + FRAME_HEAD].copy_from_slice(&stream.to_be_bytes());
        }
        self.open.insert(stream, false);
        stream
    }

    /// Reads the received frames. Appends the streams that have ended with an answer.
    fn take(&mut self, ended: &mut Vec<u32>) -> anyhow::Result<()> {
        while let [l0, l1, l2, kind, flags, s0, s1, s2, s3, ..] = self.received[..] {
            let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
            if self.received.len() < FRAME_HEAD + length {
                break;
            }
            let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
            self.received.advance(FRAME_HEAD);
            let payload = self.received.split_to(length);
            match kind {
                DATA => self.open.get_mut(&stream).into_iter().for_each(|answered| *answered = true),
                // A call that fails has no message.
                HEADERS if flags & END_STREAM != 0 => match self.open.remove(&stream) {
                    Some(true) => ended.push(stream),
                    Some(false) | None => bail!("a call failed: {}", String::from_utf8_lossy(&payload)),
                },
                SETTINGS if flags & ACK == 0 => self.to_send.extend(frame(SETTINGS, ACK, &[])),
                PING if flags & ACK == 0 => self.to_send.extend(frame(PING, ACK, &payload)),
                RST_STREAM | GOAWAY => bail!("the server ended a call: {}", String::from_utf8_lossy(&payload)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A connection on a runtime. Several calls can be in flight on it, as a gRPC channel has them.
pub struct GrpcConnection {
    socket: tokio::net::TcpStream,
    wire: Http2Wire,
}

impl GrpcConnection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = tokio::net::TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, wire: Http2Wire::new() })
    }
}

impl Connection for GrpcConnection {
    fn begin(&mut self, request: &[u8]) -> u32 {
        self.wire.begin(request)
    }

    async fn answered(&mut self, numbers: &mut Vec<u32>) -> anyhow::Result<()> {
        if !self.wire.to_send.is_empty() {
            self.socket.write_all(&self.wire.to_send).await?;
            self.wire.to_send.clear();
        }
        if self.socket.read_buf(&mut self.wire.received).await? == 0 {
            bail!("the server closed the connection");
        }
        self.wire.take(numbers)
    }
}

/// A connection of a thread, with one call at a time.
pub struct BlockingGrpc {
    socket: TcpStream,
    wire: Http2Wire,
}

impl BlockingGrpc {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { socket, wire: Http2Wire::new() })
    }

    /// Makes a call and waits for its answer.
    pub fn ask(&mut self, call: &[u8]) -> anyhow::Result<()> {
        self.wire.begin(call);
        let mut ended = Vec::new();
        let mut buffer = [0; BUFFER];
        while ended.is_empty() {
            self.socket.write_all(&self.wire.to_send)?;
            self.wire.to_send.clear();
            let read = self.socket.read(&mut buffer)?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            self.wire.received.extend_from_slice(&buffer[..read]);
            self.wire.take(&mut ended)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_stream_in_both_frames() {
        let mut wire = Http2Wire::new();
        wire.to_send.clear();
        let call = call("/p.S/M", b"xyz");
        assert_eq!([wire.begin(&call), wire.begin(&call)], [1, 3]);
        let second = &wire.to_send[call.len()..];
        let data = call.len() - FRAME_HEAD - 8;
        assert_eq!((second[3], &second[5..9]), (HEADERS, &[0, 0, 0, 3][..]));
        assert_eq!((second[data + 3], &second[data + 5..data + 9]), (DATA, &[0, 0, 0, 3][..]));
        assert_eq!(&second[data + FRAME_HEAD..], b"\x00\x00\x00\x00\x03xyz");
    }

    #[test]
    fn a_call_has_ended_when_its_trailers_have_come_after_a_message() {
        let of = |kind, flags| {
            let mut bytes = frame(kind, flags, b"x");
            bytes[8] = 1;
            bytes
        };
        let mut wire = Http2Wire::new();
        wire.begin(&call("/p.S/M", b""));
        let mut ended = Vec::new();
        wire.received.extend(of(HEADERS, END_HEADERS));
        wire.received.extend(of(DATA, 0));
        let trailers = of(HEADERS, END_HEADERS | END_STREAM);
        wire.received.extend_from_slice(&trailers[..5]);
        wire.take(&mut ended).unwrap();
        assert_eq!(ended, [0; 0]);
        wire.received.extend_from_slice(&trailers[5..]);
        wire.take(&mut ended).unwrap();
        assert_eq!(ended, [1]);
        wire.begin(&call("/p.S/M", b""));
        wire.received.extend(frame(GOAWAY, 0, b""));
        assert!(wire.take(&mut ended).is_err());
    }
}
