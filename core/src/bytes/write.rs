//! Writes numbers as LEB128 varints (signed ones in zigzag), and texts with their length before them.

/// The bytes that have been written.
#[derive(Default)]
pub struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn unsigned(&mut self, mut value: u128) {
        // Nearly all numbers fit in 64 bits, which are cheaper to shift.
        while value > u128::from(u64::MAX) {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        let mut value = value as u64;
        while value >= 0x80 {
            // The high bit marks that more bytes follow.
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn signed(&mut self, value: i128) {
        self.unsigned(((value << 1) ^ (value >> 127)).cast_unsigned());
    }

    pub(crate) fn length(&mut self, length: usize) {
        self.unsigned(length as u128);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.fixed(text.as_bytes());
    }
}
