//! The request's body as a stream of plain bytes, and its way into a file that the engine can read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, Lz4Decoder, ZlibDecoder, ZstdDecoder};
use axum::body::Body;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tempfile::{NamedTempFile, TempPath};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::compressed::BlockDecoder;
use crate::error::QueryError;
use crate::request::BodyEncoding;

/// Written to the file in pieces of this size, each on a thread that may block.
const PIECE: usize = 4 << 20;
/// Bytes of a compressed body that are decoded at once.
const DECODED_PIECE: usize = 256 << 10;

/// How many more bytes of a refused body are read, and for how long.
const MOST_DISCARDED: usize = 64 << 20;
const LONGEST_DISCARD: Duration = Duration::from_secs(5);

/// Reads a body, unpacked if it is packed, and stops at a limit.
pub struct BodyReader {
    stream: BoxStream<'static, io::Result<Bytes>>,
    decoder: Option<BlockDecoder>,
    left: u64,
    limit: u64,
}

impl BodyReader {
    /// `encoding`: of the whole body. `packed`: in ClickHouse's blocks. `limit`: bytes after both are undone.
    pub fn new(body: Body, encoding: BodyEncoding, packed: bool, limit: u64) -> Self {
        let decoder = packed.then(BlockDecoder::default);
        Self { stream: decoded(body, encoding), decoder, left: limit, limit }
    }

    /// The next bytes, or None at the end.
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

    /// Reads on and discards the bytes. Without this, the connection of a client that is still sending would be reset, and
    /// the client would not see the answer.
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

/// Undoes the `Content-Encoding`. Clients compress each of their blocks on its own, so several frames may follow each other.
fn decoded(body: Body, encoding: BodyEncoding) -> BoxStream<'static, io::Result<Bytes>> {
    let stream = body.into_data_stream().map_err(io::Error::other);
    macro_rules! decoded_by {
        ($decoder:ident) => {{
            let mut decoder = $decoder::new(StreamReader::new(stream));
            decoder.multiple_members(true);
            ReaderStream::with_capacity(decoder, DECODED_PIECE).boxed()
        }};
    }
    match encoding {
        BodyEncoding::Identity => stream.boxed(),
        BodyEncoding::Lz4 => decoded_by!(Lz4Decoder),
        BodyEncoding::Zstd => decoded_by!(ZstdDecoder),
        BodyEncoding::Gzip => decoded_by!(GzipDecoder),
        BodyEncoding::Deflate => decoded_by!(ZlibDecoder),
    }
}

/// A folder for bodies on their way into the engine. Files vanish when their request is done.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Makes the folder, and removes files that a killed process left.
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
