//! A connection with requests in flight, which the loads drive: HTTP/1.1 has one in flight, HTTP/2 has several.

use std::future::Future;

/// A connection on a runtime.
pub trait Connection: Send + 'static {
    /// Queues a request. Returns the number that [`Self::answered`] gives for its answer.
    fn begin(&mut self, request: &[u8]) -> u32;

    /// Sends the queued requests and waits until answers have come. Appends the numbers of the answered requests; the
    /// list may stay empty. An answer that refuses the request is an error.
    fn answered(&mut self, numbers: &mut Vec<u32>) -> impl Future<Output = anyhow::Result<()>> + Send;
}
