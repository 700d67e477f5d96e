//! Reads the bytes that `write` wrote; that file describes the format. Other bytes never make it panic. A number that is
//! written in more bytes than necessary is accepted.

use super::DecodeError;

/// The bytes that are read, and how far.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The error of a `what` that is not valid. It points at the last byte that was read.
    pub(crate) fn invalid(&self, what: &'static str) -> DecodeError {
        DecodeError::Invalid { what, at: self.at.saturating_sub(1) }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Truncated(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte, which stays to be read.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn skip(&mut self, length: usize) -> Result<(), DecodeError> {
        self.slice(length).map(|_| ())
    }

    pub(crate) fn skip_text(&mut self) -> Result<(), DecodeError> {
        let length = self.length()?;
        self.skip(length)
    }

    #[inline]
    pub(crate) fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length).ok_or(DecodeError::Truncated(self.at))?;
        let slice = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated(self.bytes.len()))?;
        self.at = end;
        Ok(slice)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.slice(N)?);
        Ok(fixed)
    }

    pub(crate) fn signed(&mut self) -> Result<i128, DecodeError> {
        if let Some(value) = self.short() {
            return Ok(i128::from(unzigzag(value)));
        }
        let value = self.long()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(crate) fn signed64(&mut self) -> Result<i64, DecodeError> {
        if let Some(value) = self.short() {
            return Ok(unzigzag(value));
        }
        let value = self.signed()?;
        value.try_into().map_err(|_| self.invalid("64-bit number"))
    }

    pub(crate) fn unsigned64(&mut self) -> Result<u64, DecodeError> {
        if let Some(value) = self.short() {
            return Ok(value);
        }
        let value = self.long()?;
        value.try_into().map_err(|_| self.invalid("64-bit number"))
    }

    /// Reads a number of at most nine bytes, which holds 63 bits. Returns None and reads nothing if the number is longer,
    /// which is rare, or cut off.
    #[inline]
    fn short(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        if first < 0x80 {
            self.at += 1;
            return Some(u64::from(first));
        }
        let mut value = 0;
        for (index, byte) in self.bytes.get(self.at..)?.iter().take(9).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.at += index + 1;
                return Some(value);
            }
        }
        None
    }

    /// Reads a number of any length up to 128 bits.
    fn long(&mut self) -> Result<u128, DecodeError> {
        let mut value = 0u128;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || (shift == 126 && bits > 3) {
                return Err(self.invalid("number"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// Steps over `count` numbers, eight bytes at a time. Only the last byte of a number has a clear high bit, so the clear
    /// high bits count the numbers that end.
    #[inline]
    pub(crate) fn skip_numbers(&mut self, mut count: usize) -> Result<(), DecodeError> {
        const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
        while count >= 8
            && let Some(word) = self.bytes[self.at..].first_chunk()
        {
            count -= (!u64::from_le_bytes(*word) & HIGH_BITS).count_ones() as usize;
            self.at += word.len();
        }
        while count > 0 {
            count -= usize::from(self.byte()? < 0x80);
        }
        Ok(())
    }

    /// Reads the number of items that follow, each of at least one byte. A number beyond the bytes that are left is an
    /// error, so corrupt bytes cannot make a caller allocate more than they are long.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.unsigned64()?)
            .ok()
            .filter(|length| *length <= self.bytes.len() - self.at)
            .ok_or_else(|| self.invalid("length"))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.length()?;
        let slice = self.slice(length)?;
        std::str::from_utf8(slice).map_err(|_| self.invalid("text"))
    }

    /// Returns an error if bytes are left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}
