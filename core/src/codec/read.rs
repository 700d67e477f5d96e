//! The inverse of `write`. Never panics and never allocates more than the bytes can hold, whatever they are.

use super::DecodeError;

#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Where a ring's tiles start: the first as it is, the others by steps of a unit.
pub(super) struct RingStart {
    unit: i64,
    last: Option<i64>,
}

impl RingStart {
    pub(super) fn next(&mut self, reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
        let step = reader.signed64()?;
        let start = self.last.map_or(step, |last| last.saturating_add(step.saturating_mul(self.unit)));
        self.last = Some(start);
        Ok(start)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn invalid(&self, what: &'static str) -> DecodeError {
        DecodeError::Invalid { what, at: self.at.saturating_sub(1) }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Truncated(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn skip(&mut self, length: usize) -> Result<(), DecodeError> {
        self.slice(length).map(|_| ())
    }

    pub(super) fn skip_text(&mut self) -> Result<(), DecodeError> {
        let length = self.length()?;
        self.skip(length)
    }

    #[inline]
    pub(super) fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length).ok_or(DecodeError::Truncated(self.at))?;
        let slice = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated(self.bytes.len()))?;
        self.at = end;
        Ok(slice)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.slice(N)?);
        Ok(fixed)
    }

    pub(super) fn signed(&mut self) -> Result<i128, DecodeError> {
        if let Some(value) = self.short() {
            return Ok(i128::from(unzigzag(value)));
        }
        let value = self.long()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(super) fn signed64(&mut self) -> Result<i64, DecodeError> {
        if let Some(value) = self.short() {
            return Ok(unzigzag(value));
        }
        let value = self.signed()?;
        value.try_into().map_err(|_| self.invalid("64-bit number"))
    }

    pub(super) fn unsigned64(&mut self) -> Result<u64, DecodeError> {
        if let Some(value) = self.short() {
            return Ok(value);
        }
        let value = self.long()?;
        value.try_into().map_err(|_| self.invalid("64-bit number"))
    }

    /// A number of at most 63 bits, if one stands here, as nearly always.
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

    /// Steps over that many numbers, eight bytes at a time: each ends with the only byte whose high bit is clear.
    #[inline]
    pub(super) fn skip_numbers(&mut self, mut count: usize) -> Result<(), DecodeError> {
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

    pub(super) fn ring_start(&mut self) -> Result<RingStart, DecodeError> {
        Ok(RingStart { unit: self.signed64()?, last: None })
    }

    /// A count of things that take at least a byte each, so that it can be trusted with an allocation.
    #[inline]
    pub(super) fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.unsigned64()?)
            .ok()
            .filter(|length| *length <= self.bytes.len() - self.at)
            .ok_or_else(|| self.invalid("length"))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.length()?;
        let slice = self.slice(length)?;
        std::str::from_utf8(slice).map_err(|_| self.invalid("text"))
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
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
