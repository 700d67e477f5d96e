//! The first or the last value by the order of stamps: what `first` and `last` have in common.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::fold::expect_tag;
use super::sql;
use super::stamp::{Stamp, Stamped};
use crate::bytes::{DecodeError, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

const TAG: u8 = 6;

/// The value whose entry no other one beats so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edge(Option<Box<Stamped>>);

impl Edge {
    /// A value takes the place of the held one if its stamp compares as `wins`.
    pub(super) fn absorb(&mut self, wins: Ordering, stamp: Stamp<'_>, value: &Scalar<'_>) {
        if self.0.as_ref().is_none_or(|held| stamp.cmp(&held.stamp()) == wins) {
            self.0 = Some(Box::new(Stamped::new(stamp, value)));
        }
    }

    pub(super) fn merge(&mut self, wins: Ordering, other: &Self) {
        if let Some(stamped) = &other.0 {
            self.absorb(wins, stamped.stamp(), &stamped.value);
        }
    }

    pub(super) fn take(&mut self, wins: Ordering, other: Self) {
        match self.0 {
            None => *self = other,
            Some(_) => self.merge(wins, &other),
        }
    }

    pub(super) fn finish(&self, kind: &ValueType) -> Option<Json> {
        self.0.as_ref().map(|stamped| stamped.value.to_json(kind))
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.byte(TAG);
        writer.length(usize::from(self.0.is_some()));
        self.0.iter().for_each(|stamped| stamped.write(writer));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        expect_tag(reader, TAG)?;
        Ok(Self(if reader.length()? == 0 { None } else { Some(Box::new(Stamped::read(reader)?)) }))
    }

    pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        expect_tag(reader, TAG)?;
        if reader.length()? == 0 { Ok(()) } else { Stamped::skip(reader) }
    }

    pub(super) fn max_bytes(kind: &ValueType) -> u64 {
        2 + Stamped::max_bytes(kind)
    }

    pub(super) fn from_sql(kind: &ValueType, text: &str) -> Option<Self> {
        Some(Self(Some(Box::new(Stamped::from_sql(sql::scalar(kind, text)?)))))
    }
}
