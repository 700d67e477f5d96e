//! Writes protobuf into one buffer, and the codec that sends it. A nested message is written behind one byte for its
//! length, and is moved where the length needs more bytes, so that nothing is measured or copied level by level.

use std::marker::PhantomData;

use bytes::BufMut;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// A message while it is written: its fields, one after the other. A field that is empty or zero may be left out: readers
/// take both for the same.
#[derive(Default)]
pub(crate) struct MessageWriter(Vec<u8>);

/// A message that was written.
pub struct WrittenMessage(Vec<u8>);

impl MessageWriter {
    /// Reserves room for a message of that length.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Writes a text.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        encode_key(field, WireType::LengthDelimited, &mut self.0);
        encode_varint(text.len() as u64, &mut self.0);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Writes an integer, a bool or an enum's number.
    pub(super) fn int(&mut self, field: u32, int: impl Into<i64>) {
        encode_key(field, WireType::Varint, &mut self.0);
        self.item(int);
    }

    /// Writes a double.
    pub(super) fn double(&mut self, field: u32, double: f64) {
        encode_key(field, WireType::SixtyFourBit, &mut self.0);
        self.0.extend(double.to_le_bytes());
    }

    /// Writes a nested message, of which `write` writes the fields, or a packed list, of which it writes the items.
    pub(super) fn nested(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        encode_key(field, WireType::LengthDelimited, &mut self.0);
        let start = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - start - 1;
        match u8::try_from(length) {
            Ok(short @ ..=0x7f) => self.0[start] = short,
            _ => {
                let mut varint = Vec::with_capacity(5);
                encode_varint(length as u64, &mut varint);
                self.0.splice(start..=start, varint);
            }
        }
    }

    /// Writes an integer of a packed list.
    pub(super) fn item(&mut self, int: impl Into<i64>) {
        encode_varint(int.into().cast_unsigned(), &mut self.0);
    }

    /// Writes a float of a packed list.
    pub(super) fn float_item(&mut self, float: f32) {
        self.0.extend(float.to_le_bytes());
    }

    /// The number of bytes that are written.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The message.
    pub(super) fn finish(self) -> WrittenMessage {
        WrittenMessage(self.0)
    }
}

/// The codec that reads requests as messages and sends answers as they were written.
pub(crate) struct WrittenCodec<T>(PhantomData<T>);

/// The encoder of [`WrittenCodec`].
pub(crate) struct WrittenEncoder;

impl<T> Default for WrittenCodec<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Default + 'static> Codec for WrittenCodec<T> {
    type Encode = WrittenMessage;
    type Decode = T;
    type Encoder = WrittenEncoder;
    type Decoder = ProstDecoder<T>;

    fn encoder(&mut self) -> WrittenEncoder {
        WrittenEncoder
    }

    fn decoder(&mut self) -> ProstDecoder<T> {
        ProstCodec::<T, T>::new().decoder()
    }
}

impl Encoder for WrittenEncoder {
    type Item = WrittenMessage;
    type Error = Status;

    fn encode(&mut self, item: WrittenMessage, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::millrace_v1::{Column, Row, StreamFeaturesResponse, Value, VectorValue, value::Kind};

    impl MessageWriter {
        /// Reads the message as a client does.
        pub(in crate::fast_path) fn read_back<T: Message + Default>(write: impl FnOnce(&mut Self)) -> T {
            let mut message = Self::default();
            write(&mut message);
            T::decode(message.0.as_slice()).unwrap()
        }
    }

    #[test]
    fn what_is_written_is_what_a_client_reads() {
        for length in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 21] {
            let text = "x".repeat(length);
            let read: StreamFeaturesResponse = MessageWriter::read_back(|message| {
                message.nested(1, |column| {
                    column.text(1, &text);
                    column.int(3, 7);
                });
                message.nested(2, |row| {
                    row.int(2, 4);
                    row.nested(3, |value| value.double(2, -0.5));
                    row.nested(3, |_| ());
                    row.nested(3, |value| value.int(1, i64::MIN));
                    row.nested(3, |value| value.nested(9, |vector| vector.nested(1, |items| items.float_item(1.5))));
                    row.nested(4, |statuses| [1, 2, 300].into_iter().for_each(|status| statuses.item(status)));
                });
            });
            let value = |kind| Value { kind };
            let vector = Kind::VectorValue(VectorValue { values: vec![1.5] });
            let kinds = [Some(Kind::Float64Value(-0.5)), None, Some(Kind::Int64Value(i64::MIN)), Some(vector)];
            let column = Column { name: text, version: 7, ..Default::default() };
            let (values, statuses) = (kinds.map(value).into(), vec![1, 2, 300]);
            let row = Row { status: 4, values, statuses, ..Default::default() };
            assert_eq!(read, StreamFeaturesResponse { columns: vec![column], rows: vec![row], as_of: None });
        }
    }
}
