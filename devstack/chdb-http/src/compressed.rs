//! ClickHouse's block compression, used when a request says `compress=1` or `decompress=1`.
//!
//! A block is `checksum (16) | method (1) | compressed size with this header of 9 (4) | size (4) | data`, little endian; the
//! checksum is CityHash128 of version 1.0.2 over all that follows it, its high half first. See ClickHouse's
//! `CompressedReadBufferBase`.

use bytes::{Buf, Bytes, BytesMut};
use cityhash_rs::cityhash_102_128;

use crate::error::QueryError;

const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const METHOD_NONE: u8 = 0x02;
const METHOD_LZ4: u8 = 0x82;
/// The largest block that a header may announce.
const MAX_BLOCK: usize = 128 << 20;

/// Turns a stream of compressed blocks into their content, block by block.
#[derive(Debug, Default)]
pub struct BlockDecoder {
    input: BytesMut,
}

impl BlockDecoder {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The content of the next block, if it is here in full.
    pub fn next_block(&mut self) -> Result<Option<Bytes>, QueryError> {
        let Some(header) = self.input.get(CHECKSUM..CHECKSUM + HEADER) else {
            return Ok(None);
        };
        let [method, packed, size] = parse_header(header)?;
        if self.input.len() < CHECKSUM + packed {
            return Ok(None);
        }
        let mut block = self.input.split_to(CHECKSUM + packed).freeze();
        let stated = block.split_to(CHECKSUM);
        if stated[..] != checksum(&block) {
            return Err(QueryError::new(40, "CHECKSUM_DOESNT_MATCH", "Checksum doesn't match: corrupted data"));
        }
        block.advance(HEADER);
        unpack(method, block, size).map(Some)
    }

    /// Whether the stream ended at the end of a block.
    pub fn finish(&self) -> Result<(), QueryError> {
        if self.input.is_empty() {
            return Ok(());
        }
        Err(QueryError::new(271, "CANNOT_DECOMPRESS", "Cannot decompress: the data ends inside a block"))
    }
}

/// One LZ4 block that holds `content`.
pub fn encode_block(content: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(content);
    let mut block = vec![0; CHECKSUM];
    block.push(METHOD_LZ4);
    block.extend_from_slice(&((packed.len() + HEADER) as u32).to_le_bytes());
    block.extend_from_slice(&(content.len() as u32).to_le_bytes());
    block.extend_from_slice(&packed);
    let sum = checksum(&block[CHECKSUM..]);
    block[..CHECKSUM].copy_from_slice(&sum);
    block
}

fn parse_header(header: &[u8]) -> Result<[usize; 3], QueryError> {
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u32::from_le_bytes(bytes) as usize
    };
    let (packed, size) = (number(1), number(5));
    if !(HEADER..=MAX_BLOCK).contains(&packed) || size > MAX_BLOCK {
        let text = format!("Too large size of a compressed block: {packed} for {size} bytes: corrupted data");
        return Err(QueryError::new(39, "TOO_LARGE_SIZE_COMPRESSED", text));
    }
    Ok([usize::from(header[0]), packed, size])
}

fn unpack(method: usize, data: Bytes, size: usize) -> Result<Bytes, QueryError> {
    match method as u8 {
        METHOD_NONE => Ok(data),
        METHOD_LZ4 => lz4_flex::block::decompress(&data, size)
            .map(Bytes::from)
            .map_err(|error| QueryError::new(271, "CANNOT_DECOMPRESS", format!("Cannot decompress: {error}"))),
        other => {
            let text = format!("Unknown compression method {other:#x}: this server reads LZ4 and NONE");
            Err(QueryError::new(89, "UNKNOWN_COMPRESSION_METHOD", text))
        }
    }
}

fn checksum(data: &[u8]) -> [u8; CHECKSUM] {
    cityhash_102_128(data).rotate_left(64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_split_anywhere_comes_back() {
        let content = b"millrace ".repeat(1000);
        let bytes = [encode_block(&content), encode_block(b"")].concat();
        let mut decoder = BlockDecoder::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(7) {
            decoder.push(piece);
            while let Some(block) = decoder.next_block().unwrap() {
                seen.extend_from_slice(&block);
            }
        }
        decoder.finish().unwrap();
        assert_eq!(seen, content);
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut bytes = encode_block(b"some content");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let mut decoder = BlockDecoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next_block().unwrap_err().code, 40);
    }

    #[test]
    fn a_cut_block_is_noticed() {
        let mut decoder = BlockDecoder::default();
        decoder.push(&encode_block(b"some content")[..20]);
        assert!(decoder.next_block().unwrap().is_none());
        assert_eq!(decoder.finish().unwrap_err().code, 271);
    }
}
