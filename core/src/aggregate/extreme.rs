//! The least or the greatest value: what `min` and `max` have in common.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::fold::expect_tag;
use super::options::typed;
use super::{InvalidAggregate, sql};
use crate::bytes::{DecodeError, Reader, Writer, max_scalar_bytes, read_scalar, skip_scalar, write_scalar};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

const TAG: u8 = 5;

/// The value that no other one beats so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extreme(Option<Scalar<'static>>);

pub(super) fn input(name: &'static str, input: Option<&ValueType>) -> Result<ValueType, InvalidAggregate> {
    typed(name, input, |kind| kind.is_scalar() && *kind != ValueType::Bool)
}

impl Extreme {
    /// A value takes the place of the held one if it compares as `wins`.
    pub(super) fn absorb(&mut self, wins: Ordering, value: &Scalar<'_>) {
        if self.0.as_ref().is_none_or(|held| value.order(held) == wins) {
            self.0 = Some(value.clone().into_owned());
        }
    }

    pub(super) fn merge(&mut self, wins: Ordering, other: &Self) {
        if let Some(value) = &other.0 {
            self.absorb(wins, value);
        }
    }

    pub(super) fn take(&mut self, wins: Ordering, other: Self) {
        match self.0 {
            None => *self = other,
            Some(_) => self.merge(wins, &other),
        }
    }

    pub(super) fn finish(&self, kind: &ValueType) -> Option<Json> {
        self.0.as_ref().map(|value| value.to_json(kind))
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.byte(TAG);
        writer.length(usize::from(self.0.is_some()));
        self.0.iter().for_each(|value| write_scalar(writer, value));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        expect_tag(reader, TAG)?;
        Ok(Self(if reader.length()? == 0 { None } else { Some(read_scalar(reader)?) }))
    }

    pub(super) fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        expect_tag(reader, TAG)?;
        if reader.length()? == 0 { Ok(()) } else { skip_scalar(reader) }
    }

    pub(super) fn max_bytes(kind: &ValueType) -> u64 {
        2 + max_scalar_bytes(kind)
    }

    pub(super) fn from_sql(kind: &ValueType, text: &str) -> Option<Self> {
        Some(Self(Some(sql::scalar(kind, text)?)))
    }
}
