//! The request's body as a stream of plain bytes, and its way into a file that the engine can read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::StreamExt;
use tempfile::{NamedTempFile, TempPath};

use crate::compressed::BlockDecoder;
use crate::error::QueryError;

/// Written to the file in pieces of this size, each on a thread that may block.
const PIECE: usize = 4 << 20;

/// What is still read, and for how long, of a body that was refused.
const MOST_DISCARDED: usize = 64 << 20;
const LONGEST_DISCARD: Duration = Duration::from_secs(5);

/// Reads a body, unpacked if it is packed, and stops at a limit.
pub struct BodyReader {
    stream: BodyDataStream,
    decoder: Option<BlockDecoder>,
    left: u64,
    limit: u64,
}

impl BodyReader {
    /// `packed`: in ClickHouse's blocks. `limit`: bytes after unpacking.
    pub fn new(body: Body, packed: bool, limit: u64) -> Self {
        let decoder = packed.then(BlockDecoder::default);
        Self { stream: body.into_data_stream(), decoder, left: limit, limit }
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, QueryError> {
        let Some(bytes) = self.unpacked().await? else {
            return Ok(None);
        };
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            self.discard().await;
            return Err(QueryError::too_large(self.limit));
        };
        self.left = left;
        Ok(Some(bytes))
    }

    /// Reads on and throws away: a client that is still sending would have its connection reset and not see the answer.
    async fn discard(&mut self) {
        let rest = async {
            let mut discarded = 0;
            while let Some(Ok(bytes)) = self.stream.next().await
                && discarded < MOST_DISCARDED
            {
                discarded += bytes.len();
            }
        };
        let _ = tokio::time::timeout(LONGEST_DISCARD, rest).await;
    }

    /// Appends to `text` until it holds `size` bytes or the body ends.
    pub async fn fill(&mut self, text: &mut Vec<u8>, size: usize) -> Result<(), QueryError> {
        while text.len() < size {
            match self.next().await? {
                Some(bytes) => text.extend_from_slice(&bytes),
                None => break,
            }
        }
        Ok(())
    }

    async fn unpacked(&mut self) -> Result<Option<Bytes>, QueryError> {
        loop {
            if let Some(block) = self.decoder.as_mut().map(BlockDecoder::next_block).transpose()?.flatten() {
                return Ok(Some(block));
            }
            match (self.stream.next().await.transpose().map_err(QueryError::network)?, &mut self.decoder) {
                (Some(bytes), Some(decoder)) => decoder.push(&bytes),
                (Some(bytes), None) => return Ok(Some(bytes)),
                (None, Some(decoder)) => return decoder.finish().map(|()| None),
                (None, None) => return Ok(None),
            }
        }
    }
}

/// A folder for bodies on their way into the engine. Files vanish when their request is done.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Makes the folder, emptied of what a killed process left.
    pub fn open(folder: PathBuf) -> std::io::Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `beginning` and the rest of a body to a file.
    pub async fn keep(&self, beginning: Vec<u8>, reader: &mut BodyReader) -> Result<TempPath, QueryError> {
        let mut file = NamedTempFile::new_in(&self.folder).map_err(QueryError::file)?;
        let mut piece = beginning;
        loop {
            reader.fill(&mut piece, PIECE).await?;
            if piece.is_empty() {
                return Ok(file.into_temp_path());
            }
            (file, piece) = write(file, piece).await.map_err(QueryError::file)?;
        }
    }
}

async fn write(mut file: NamedTempFile, mut piece: Vec<u8>) -> std::io::Result<(NamedTempFile, Vec<u8>)> {
    let work = tokio::task::spawn_blocking(move || {
        file.write_all(&piece)?;
        piece.clear();
        Ok((file, piece))
    });
    work.await.map_err(std::io::Error::other)?
}
