//! The order of entries, and a value that keeps its entry's place in that order.

use crate::bytes::{
    DecodeError, NUMBER_BYTES, Reader, Writer, max_scalar_bytes, read_scalar, skip_scalar, write_scalar,
};
use crate::definitions::ValueType;
use crate::partition::Partition;
use crate::position::Position;
use crate::scalar::Scalar;

/// The columns by which SQL orders entries as [`Stamp`] does.
pub(crate) const STAMP_COLUMNS: &str = "feature_ms, event_id, stream_ms, stream_seq, `partition`";

/// The most bytes of an event's id.
const MAX_ID_BYTES: u64 = 256;
/// The most bytes of a stamp: five numbers, the length of the id among them, and the id.
const STAMP_BYTES: u64 = 5 * NUMBER_BYTES + MAX_ID_BYTES;

/// The place of an entry among all others: the order of `first`, `last` and `last_n`, ties included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp<'a> {
    /// When the entry counts, epoch ms.
    pub feature_time: i64,
    /// Its event id, compared by bytes.
    pub event_id: &'a str,
    /// Its position.
    pub position: Position,
    /// Its partition, because positions of two partitions can be equal.
    pub partition: Partition,
}

/// A value and the stamp of its entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    feature_time: i64,
    event_id: Box<str>,
    position: Position,
    partition: Partition,
    pub(super) value: Scalar<'static>,
}

impl Stamped {
    pub(super) fn new(stamp: Stamp<'_>, value: &Scalar<'_>) -> Self {
        Self {
            feature_time: stamp.feature_time,
            event_id: stamp.event_id.into(),
            position: stamp.position,
            partition: stamp.partition,
            value: value.clone().into_owned(),
        }
    }

    /// A value from SQL, which has put the entries in order and leaves their stamps out.
    pub(super) fn from_sql(value: Scalar<'static>) -> Self {
        let (position, partition) = (Position::ZERO, Partition(0));
        Self { feature_time: 0, event_id: "".into(), position, partition, value }
    }

    pub(super) fn stamp(&self) -> Stamp<'_> {
        Stamp {
            feature_time: self.feature_time,
            event_id: &self.event_id,
            position: self.position,
            partition: self.partition,
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.signed(i128::from(self.feature_time));
        writer.text(&self.event_id);
        writer.unsigned(u128::from(self.position.ms));
        writer.unsigned(u128::from(self.position.seq));
        writer.unsigned(u128::from(self.partition.0));
        write_scalar(writer, &self.value);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            feature_time: reader.signed64()?,
            event_id: reader.text()?.into(),
            position: Position { ms: reader.unsigned64()?, seq: reader.unsigned64()? },
            partition: Partition(reader.unsigned64()?.try_into().map_err(|_| reader.invalid("partition"))?),
            value: read_scalar(reader)?,
        })
    }

    pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        reader.skip_numbers(1)?;
        reader.skip_text()?;
        reader.skip_numbers(3)?;
        skip_scalar(reader)
    }

    pub(super) fn max_bytes(kind: &ValueType) -> u64 {
        STAMP_BYTES + max_scalar_bytes(kind)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_is_as_long_as_an_event_can_have_it() {
        assert_eq!(super::MAX_ID_BYTES, crate::event::MAX_NAME_BYTES as u64);
    }
}
