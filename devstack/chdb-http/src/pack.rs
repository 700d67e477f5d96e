//! Makes the body of a response from a result, plain or compressed. The result is in memory already. It is compressed
//! piece by piece while it is sent, so that memory never holds a whole compressed copy beside it. Headers are left to
//! `http`, and the form of ClickHouse's blocks to `compressed`.

use std::convert::Infallible;
use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use lz4_flex::frame::FrameEncoder;

use crate::compressed::encode_block;
use crate::request::Packing;

/// How many bytes of the result are compressed at once.
const PIECE: usize = 1 << 20;

/// The body that sends `content`. It does not set `Content-Encoding`.
pub(crate) fn body(content: Bytes, packing: Packing) -> Body {
    match packing {
        Packing::Plain => Body::from(content),
        Packing::Blocks => {
            let blocks = pieces(content).map(|piece| Ok::<_, Infallible>(encode_block(&piece)));
            Body::from_stream(stream::iter(blocks))
        }
        Packing::Lz4Frame => Body::from_stream(stream::iter(frame(content))),
    }
}

/// The content in pieces of `PIECE` bytes. The last one may be shorter.
fn pieces(mut content: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let size = content.len().min(PIECE);
        (size > 0).then(|| content.split_to(size))
    })
}

/// One LZ4 frame that holds the content. Each piece of the content yields one item, and the end of the frame another.
fn frame(content: Bytes) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    let mut pieces = pieces(content);
    let mut encoder = Some(FrameEncoder::new(Vec::new()));
    std::iter::from_fn(move || {
        let Some(piece) = pieces.next() else {
            return encoder.take().map(|encoder| encoder.finish().map_err(io::Error::from));
        };
        let open = encoder.as_mut()?;
        Some(open.write_all(&piece).and_then(|()| open.flush()).map(|()| std::mem::take(open.get_mut())))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_pieces_are_one_frame() {
        let content: Vec<u8> = (0..3 * PIECE as u32 / 4 + 5).flat_map(u32::to_le_bytes).collect();
        let packed: Vec<u8> = frame(Bytes::from(content.clone())).flat_map(|piece| piece.unwrap()).collect();
        let mut seen = Vec::new();
        lz4_flex::frame::FrameDecoder::new(&packed[..]).read_to_end(&mut seen).unwrap();
        assert!(seen == content);
    }
}
