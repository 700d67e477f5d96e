//! Numbers, texts and scalars as bytes: how one is written, read, stepped over, and how long it can be. States, windows
//! and slots are made of these; their own layout is theirs.

mod read;
mod scalar;
mod write;

pub(crate) use read::Reader;
pub(crate) use scalar::{max_scalar_bytes, read_scalar, skip_scalar, write_scalar};
pub(crate) use write::Writer;

/// The most bytes of a 64-bit number, a length included.
pub(crate) const NUMBER_BYTES: u64 = 10;
/// The most bytes of a 128-bit number.
pub(crate) const LONG_NUMBER_BYTES: u64 = 19;

/// Why bytes cannot be read as a slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("the value ends too early, at byte {0}")]
    Truncated(usize),
    /// Bytes are left over.
    #[error("{0} bytes are left after the value")]
    Trailing(usize),
    /// Written by a later engine.
    #[error("codec version {0} is not known to this engine")]
    UnknownVersion(u8),
    /// A tag or number without a meaning.
    #[error("expected a {what} at byte {at}")]
    Invalid {
        /// A noun for the expected value, such as `window kind`.
        what: &'static str,
        /// The index of the byte.
        at: usize,
    },
    /// The windows or aggregates are not those of the view.
    #[error("the value holds other windows or aggregates than the view declares")]
    WrongShape,
}
