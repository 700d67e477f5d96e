//! The least of HTTP/2 that a load of unary gRPC calls needs: prebuilt frames, answers that are looked through for their
//! end. It shares two cores with what it measures, as [`crate::http1`] does.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::load::{Load, Requests, micros};

/// Room for answers.
const BUFFER: usize = 64 * 1024;
/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Length, type, flags and stream.
const FRAME_HEAD: usize = 9;
/// As much as may be: a load is over before it is used up.
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

/// The frames of a call of `method` (`/package.Service/Method`); the stream's number is written in when it is sent.
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

/// What a client says first: no limits on answers.
fn preface() -> Vec<u8> {
    let mut first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let initial_window_size = [&[0, 4], &WINDOW.to_be_bytes()[..]].concat();
    first.extend(frame(SETTINGS, 0, &initial_window_size));
    first.extend(frame(WINDOW_UPDATE, 0, &(WINDOW - DEFAULT_WINDOW).to_be_bytes()));
    first
}

/// One connection, without its socket: what is to be sent, what has come.
struct Wire {
    received: BytesMut,
    to_send: Vec<u8>,
    next: u32,
    /// For each open stream, whether a message has come.
    open: HashMap<u32, bool>,
}

impl Wire {
    fn new() -> Self {
        let received = BytesMut::with_capacity(BUFFER);
        Self { received, to_send: preface(), next: 1, open: HashMap::new() }
    }

    /// Puts a call among what is to be sent; its stream.
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

    /// Takes in what has come; the streams that have ended with an answer.
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
                    _ => bail!("a call failed: {}", String::from_utf8_lossy(&payload)),
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

/// A closed loop over few connections with several calls in hand on each, as a gRPC channel has them, on one thread.
pub async fn closed(
    address: SocketAddr,
    calls: Requests,
    connections: usize,
    streams: usize,
    time: Duration,
) -> anyhow::Result<Load> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut sockets = Vec::with_capacity(connections);
            for _ in 0..connections {
                let socket = tokio::net::TcpStream::connect(address).await.context("failed to connect")?;
                socket.set_nodelay(true)?;
                sockets.push(socket);
            }
            let begun = Instant::now();
            let one = |(number, socket)| {
                let calls = calls.clone();
                let numbers = (number..).step_by(connections);
                tokio::spawn(one_closed(socket, calls, numbers, streams, begun + time))
            };
            let tasks: Vec<_> = sockets.into_iter().enumerate().map(one).collect();
            let mut parts = Vec::with_capacity(connections);
            for task in tasks {
                parts.push(task.await??);
            }
            Ok(Load::new(parts, begun.elapsed().as_secs_f64()))
        })
    };
    tokio::task::spawn_blocking(run).await?
}

async fn one_closed(
    mut socket: tokio::net::TcpStream,
    calls: Requests,
    mut numbers: impl Iterator<Item = usize>,
    streams: usize,
    until: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut wire = Wire::new();
    let mut next = || numbers.next().map_or(&calls[0], |number| &calls[number % calls.len()]);
    let mut sent = HashMap::with_capacity(streams);
    let begun = Instant::now();
    for _ in 0..streams {
        sent.insert(wire.begin(next()), begun);
    }
    let (mut took, mut ended) = (Vec::new(), Vec::new());
    while !sent.is_empty() {
        if !wire.to_send.is_empty() {
            socket.write_all(&wire.to_send).await?;
            wire.to_send.clear();
        }
        if socket.read_buf(&mut wire.received).await? == 0 {
            bail!("the server closed the connection");
        }
        wire.take(&mut ended)?;
        let now = Instant::now();
        for stream in ended.drain(..) {
            let was = sent.remove(&stream).context("an answer to no call")?;
            took.push(micros(now - was));
            if now < until {
                sent.insert(wire.begin(next()), now);
            }
        }
    }
    Ok(took)
}

/// A connection of a thread, with one call at a time.
pub struct Blocking {
    socket: TcpStream,
    wire: Wire,
}

impl Blocking {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { socket, wire: Wire::new() })
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
        let mut wire = Wire::new();
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
        let mut wire = Wire::new();
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
