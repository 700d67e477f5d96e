//! Numbers and texts as bytes: LEB128 varints, zigzag for signed ones, lengths before texts.

#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn unsigned(&mut self, mut value: u128) {
        // What fits 64 bits, which is nearly all, is cheaper to shift.
        while value > u128::from(u64::MAX) {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        let mut value = value as u64;
        while value >= 0x80 {
            // The low seven bits, and a mark that more follow.
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(super) fn signed(&mut self, value: i128) {
        self.unsigned(((value << 1) ^ (value >> 127)).cast_unsigned());
    }

    pub(super) fn length(&mut self, length: usize) {
        self.unsigned(length as u128);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.fixed(text.as_bytes());
    }
}
