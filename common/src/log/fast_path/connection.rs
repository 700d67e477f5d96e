//! A connection on which one command at a time is sent, and whose reply comes back as the bytes that Redis sent. It
//! speaks RESP2 over TCP or a Unix socket. Addresses that need more, such as TLS, are left to the driver.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis::{Client, Cmd, ConnectionAddr, RedisResult};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::reply::{ReplyToken, ReplyTokens, server_error};
use crate::log::functions;

/// The room for a reply, unless the one before was larger. A reader that is far behind uses its room again and again.
const ROOM: usize = 256 * 1024;

/// A socket.
pub(in crate::log) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The connection. It is useless after a call that was dropped before its reply was whole.
pub(in crate::log) struct RawConnection {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    /// The largest reply that the buffer has had room for, in bytes.
    room: usize,
    /// The length of the last reply, in bytes.
    last: usize,
}

impl RawConnection {
    /// Connects, authenticates and fences. Returns None for an address that only the driver can reach.
    pub(in crate::log) async fn connect(
        client: &Client,
        log_key: &str,
        timeout: Duration,
    ) -> RedisResult<Option<Self>> {
        let info = client.get_connection_info();
        let stream: Box<dyn Stream> = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = within(timeout, TcpStream::connect((host.as_str(), *port))).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            ConnectionAddr::Unix(path) => Box::new(within(timeout, UnixStream::connect(path)).await?),
            _ => return Ok(None),
        };
        let mut connection = Self::over(stream);
        let settings = info.redis_settings();
        if let Some(password) = settings.password() {
            let mut auth = redis::cmd("AUTH");
            auth.arg(settings.username()).arg(password);
            connection.call(&auth, timeout).await?;
        }
        if settings.db() != 0 {
            connection.call(redis::cmd("SELECT").arg(settings.db()), timeout).await?;
        }
        connection.call(&functions::call(functions::FENCE, &[log_key]), timeout).await?;
        Ok(Some(connection))
    }

    /// The bare socket, authenticated and fenced.
    pub(in crate::log) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    fn over(stream: Box<dyn Stream>) -> Self {
        Self { stream, buffer: BytesMut::new(), room: 0, last: 0 }
    }

    /// Sends a command and returns the bytes of its whole reply.
    pub(in crate::log) async fn call(&mut self, command: &Cmd, timeout: Duration) -> RedisResult<Bytes> {
        self.make_room();
        within(timeout, async {
            self.stream.write_all(&command.get_packed_command()).await?;
            self.receive().await
        })
        .await?;
        self.last = self.buffer.len();
        let reply = self.buffer.split().freeze();
        match ReplyTokens::new(&reply).next() {
            Some(ReplyToken::Error(line)) => Err(server_error(line)),
            _ => Ok(reply),
        }
    }

    /// Makes room for a reply as long as the last one. The memory is used again if nothing of the last reply is kept. The
    /// memory of a large reply is given back after a small one.
    fn make_room(&mut self) {
        let wanted = self.last.max(ROOM);
        if wanted < self.room / 2 {
            (self.buffer, self.room) = (BytesMut::new(), 0);
        }
        self.room = self.room.max(wanted);
        self.buffer.reserve(wanted);
    }

    /// Fills the buffer with exactly one reply.
    async fn receive(&mut self) -> io::Result<()> {
        let (mut seen, mut left) = (0, 1usize);
        loop {
            let mut tokens = ReplyTokens::starting_at(&self.buffer, seen);
            while let Some(token) = tokens.next() {
                left -= 1;
                match token {
                    ReplyToken::Array(Some(elements)) => left += elements,
                    ReplyToken::Garbage => {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "expected a reply in RESP2"));
                    }
                    ReplyToken::Array(None) | ReplyToken::Bulk(_) | ReplyToken::Line(_) | ReplyToken::Error(_) => {}
                }
                seen = tokens.at();
                if left == 0 {
                    return Ok(());
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

async fn within<T>(timeout: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"*2\r\n$3\r\na\r\n\r\n*3\r\n:7\r\n$-1\r\n$0\r\n\r\n";

    #[tokio::test]
    async fn a_reply_that_comes_byte_by_byte_is_the_same() {
        let (near, mut far) = tokio::io::duplex(1);
        let mut connection = RawConnection::over(Box::new(near));
        tokio::spawn(async move {
            let mut command = [0; 14];
            far.read_exact(&mut command).await.unwrap();
            for byte in REPLY {
                far.write_all(&[*byte]).await.unwrap();
            }
        });
        let reply = connection.call(&redis::cmd("PING"), Duration::from_secs(5)).await.unwrap();
        assert_eq!(reply, REPLY);
    }
}
