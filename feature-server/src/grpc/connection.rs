//! Combines the small writes of HTTP/2. The headers, the message and the trailers of an answer are written one by one, and
//! a system call for each costs more than everything else about a small answer. Here a flush waits until the connection's
//! task has run once more, so that the rest of the answer, and the answers of other calls, go out in the same system call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tonic::transport::server::Connected;

/// Bytes that are buffered. Larger messages are not buffered.
const MOST: usize = 16 * 1024;

/// A connection that delays each flush until its task has run once more. It wakes the task to do so.
pub(super) struct BufferedConnection<S> {
    inner: BufWriter<S>,
    delayed: bool,
}

impl<S: AsyncWrite> BufferedConnection<S> {
    /// Wraps a connection.
    pub(super) fn new(inner: S) -> Self {
        Self { inner: BufWriter::with_capacity(MOST, inner), delayed: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for BufferedConnection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BufferedConnection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inner.buffer().is_empty() {
            self.delayed = false;
            return Poll::Ready(Ok(()));
        }
        if !std::mem::replace(&mut self.delayed, true) {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.delayed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: Connected + AsyncWrite> Connected for BufferedConnection<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.get_ref().connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn writes_go_out_with_the_second_flush_and_at_the_end() {
        let (server, mut client) = duplex(1024);
        let mut connection = BufferedConnection::new(server);
        let mut task = Context::from_waker(std::task::Waker::noop());
        connection.write_all(b"headers").await.unwrap();
        assert!(Pin::new(&mut connection).poll_flush(&mut task).is_ready());
        connection.write_all(b", message").await.unwrap();
        let mut received = [0; 64];
        assert!(Pin::new(&mut client).poll_read(&mut task, &mut ReadBuf::new(&mut received)).is_pending(), "delayed");
        poll_fn(|cx| Pin::new(&mut connection).poll_flush(cx)).await.unwrap();
        assert_eq!(client.read(&mut received).await.unwrap(), "headers, message".len());
        connection.write_all(b"last").await.unwrap();
        connection.shutdown().await.unwrap();
        assert_eq!(client.read(&mut received).await.unwrap(), "last".len());
    }
}
