//! Reads the body of a request, decompressed and up to a limit, and writes it to a file that the engine can read. The
//! form of ClickHouse's blocks is left to `compressed`.

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

/// A body is written to its file in pieces of about this many bytes, each on a thread that may block.
const PIECE: usize = 4 << 20;
/// The most bytes that the decoder of a `Content-Encoding` returns at once.
const DECODED_PIECE: usize = 256 << 10;

/// At most this many further bytes of a refused body are read, and for at most this long.
const MOST_DISCARDED: usize = 64 << 20;
const LONGEST_DISCARD: Duration = Duration::from_secs(5);

/// Reads and decompresses the body of a request. Refuses a body that is longer than a limit.
pub struct BodyReader {
    stream: BoxStream<'static, io::Result<Bytes>>,
    decoder: Option<BlockDecoder>,
    left: u64,
    limit: u64,
}

impl BodyReader {
    /// `encoding` is the compression of the whole body. `packed` says whether the body inside it consists of
    /// ClickHouse's compressed blocks. `limit` is the most bytes that may remain after both are decompressed.
    pub fn new(body: Body, encoding: BodyEncoding, packed: bool, limit: u64) -> Self {
        let decoder = packed.then(BlockDecoder::default);
        Self { stream: decoded(body, encoding), decoder, left: limit, limit }
    }

    /// The next decompressed bytes, or None at the end. Fails if the body exceeds the limit, is corrupted, or does
    /// not arrive in full.
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

    /// Reads on and discards the bytes. Without this, the connection of a client that is still sending would be reset,
    /// and the client would not see the answer.
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

    /// Appends to `text` until it holds at least `size` bytes or the body ends. Fails as `next` does.
    pub async fn fill(&mut self, text: &mut Vec<u8>, size: usize) -> Result<(), QueryError> {
        while text.len() < size {
            match self.next().await? {
                Some(bytes) => text.extend_from_slice(&bytes),
                None => break,
            }
        }
        Ok(())
    }

    /// The next decompressed bytes, without a limit.
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

/// Decompresses the `Content-Encoding`. Clients compress each of their blocks on its own, so a body may consist of
/// several frames.
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

/// A folder of bodies that the engine reads as files. A file is deleted when its request has ended.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Creates the folder. Deletes it first with everything in it, because a killed process leaves files. So the folder
    /// must hold nothing else.
    pub fn open(folder: PathBuf) -> std::io::Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `beginning` and then the rest of the body to a new file. The file is deleted when its path is dropped.
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

/// Writes a piece. Returns the file, and the piece's buffer emptied.
async fn write(mut file: NamedTempFile, mut piece: Vec<u8>) -> std::io::Result<(NamedTempFile, Vec<u8>)> {
    let work = tokio::task::spawn_blocking(move || {
        file.write_all(&piece)?;
        piece.clear();
        Ok((file, piece))
    });
    work.await.map_err(std::io::Error::other)?
}
