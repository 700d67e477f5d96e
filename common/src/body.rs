//! Reads the body of a request: whole, within its limit and in time, or not at all. The rest of a body that is refused is
//! still read for a while. Otherwise the connection of a client that is still sending would be reset, and the client would
//! not see the answer.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

/// The bytes of a refused body that are still read, and the time for it.
const MOST_DISCARDED: usize = 64 << 20;
const LONGEST_DISCARD: Duration = Duration::from_secs(2);

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is over the limit.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The client sends too slowly, or stopped.
    #[error("the request body did not arrive in time")]
    Slow,
    /// The connection broke, or the bytes are not a valid body.
    #[error("failed to read the body: {0}")]
    Broken(String),
}

/// Reads a body of at most `limit` bytes that arrives within `patience`.
pub async fn read(body: Body, limit: usize, patience: Duration) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut stream = body.into_data_stream();
    let collected = tokio::time::timeout(patience, collect(&mut stream, announced, limit)).await;
    let read = collected.unwrap_or(Err(BodyError::Slow));
    if matches!(read, Err(BodyError::TooLarge(_) | BodyError::Slow)) {
        discard(stream).await;
    }
    read
}

async fn collect(stream: &mut BodyDataStream, announced: usize, limit: usize) -> Result<Bytes, BodyError> {
    let broken = |error: axum::Error| BodyError::Broken(error.to_string());
    if announced > limit {
        return Err(BodyError::TooLarge(limit));
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(piece) = stream.next().await.transpose().map_err(broken)? {
        if first.len().max(whole.len()) + piece.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(announced);
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

async fn discard(mut stream: BodyDataStream) {
    let rest = async {
        let mut discarded = 0;
        while let Some(Ok(bytes)) = stream.next().await
            && discarded < MOST_DISCARDED
        {
            discarded += bytes.len();
        }
    };
    let _ = tokio::time::timeout(LONGEST_DISCARD, rest).await;
}
