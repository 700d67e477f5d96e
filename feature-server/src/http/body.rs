//! Bodies, up to a limit.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use bytes::BytesMut;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use crate::error::RequestError;

/// What is still read, and for how long, of a body that was refused.
const MOST_DISCARDED: usize = 64 << 20;
const LONGEST_DISCARD: Duration = Duration::from_secs(5);

/// Reads a JSON body of at most `most` bytes.
pub(crate) async fn json<T: DeserializeOwned>(body: Body, most: usize) -> Result<T, RequestError> {
    let bytes = collect(body, most).await?;
    serde_json::from_slice(&bytes).map_err(|error| RequestError::invalid("body", error.to_string()))
}

async fn collect(body: Body, most: usize) -> Result<Bytes, RequestError> {
    let mut stream = body.into_data_stream();
    let mut held = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| RequestError::invalid("body", error.to_string()))?;
        if held.len() + piece.len() > most {
            discard(stream).await;
            return Err(RequestError::TooLarge(most));
        }
        held.extend_from_slice(&piece);
    }
    Ok(held.freeze())
}

/// Reads on and throws away: a client that is still sending would have its connection reset and not see the answer.
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
