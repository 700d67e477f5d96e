//! Puts the small writes of HTTP/2 together. The headers, the message and the trailers of an answer are written one by
//! one, as soon as there is something to write, and a call of the kernel for each costs more than all else of a small
//! answer. Here a flush waits for one more turn of the connection's task, in which the rest of the answer, and those of
//! other calls in hand, come along.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tonic::transport::server::Connected;

/// As much goes out at once; larger messages go straight through.
const MOST: usize = 16 * 1024;

/// A connection whose flushes are put off by one turn of its task, which is woken for it.
pub(super) struct Gathered<S> {
    inner: BufWriter<S>,
    put_off: bool,
}

impl<S: AsyncWrite> Gathered<S> {
    /// Over a connection.
    pub(super) fn new(inner: S) -> Self {
        Self { inner: BufWriter::with_capacity(MOST, inner), put_off: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
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
            self.put_off = false;
            return Poll::Ready(Ok(()));
        }
        if !std::mem::replace(&mut self.put_off, true) {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.put_off = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: Connected + AsyncWrite> Connected for Gathered<S> {
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
    async fn what_is_written_goes_out_with_the_second_flush_and_at_the_end() {
        let (ours, mut theirs) = duplex(1024);
        let mut gathered = Gathered::new(ours);
        let mut turn = Context::from_waker(std::task::Waker::noop());
        gathered.write_all(b"headers").await.unwrap();
        assert!(Pin::new(&mut gathered).poll_flush(&mut turn).is_ready());
        gathered.write_all(b", message").await.unwrap();
        let mut came = [0; 64];
        assert!(Pin::new(&mut theirs).poll_read(&mut turn, &mut ReadBuf::new(&mut came)).is_pending(), "put off");
        poll_fn(|cx| Pin::new(&mut gathered).poll_flush(cx)).await.unwrap();
        assert_eq!(theirs.read(&mut came).await.unwrap(), "headers, message".len());
        gathered.write_all(b"last").await.unwrap();
        gathered.shutdown().await.unwrap();
        assert_eq!(theirs.read(&mut came).await.unwrap(), "last".len());
    }
}
