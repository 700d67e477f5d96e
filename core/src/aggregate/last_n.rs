//! `last_n`: the last `n` values, the newest first. Their order is that of [`Stamp`]: feature time, then event id, position
//! and partition. The caller leaves out nulls and duplicates.

use serde_json::Value as Json;

use super::fold::{Fold, expect_tag};
use super::options::{typed, whole_number};
use super::stamp::Stamped;
use super::{At, FinishError, InvalidAggregate, Options, STAMP_COLUMNS, SqlInput, Stamp, WrongKind, shown, sql};
use crate::bytes::{DecodeError, NUMBER_BYTES, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

/// The first byte of an encoded state, which tells it from those of other aggregates.
const TAG: u8 = 7;
/// The most values that one feature keeps.
const MAX_N: u32 = 1_000;

/// A declared `last_n`.
#[derive(Clone, Debug, PartialEq)]
pub struct LastN {
    n: u32,
    input: ValueType,
}

/// The values, the newest first.
type Latest = Vec<Stamped>;

impl LastN {
    fn room(&self) -> usize {
        // A u32 fits in a usize wherever this runs.
        self.n as usize
    }

    fn keep_latest(&self, latest: &mut Latest) {
        latest.sort_by(|x, y| y.stamp().cmp(&x.stamp()));
        latest.truncate(self.room());
    }
}

impl Fold for LastN {
    const NAME: &'static str = "last_n";
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = &["agg: last_n, n: 3"];
    type State = Latest;

    fn parse(options: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        let n = whole_number(Self::NAME, "n", MAX_N, options)?;
        Ok(Self { n, input: typed(Self::NAME, input, |_| true)? })
    }

    fn options(&self) -> Vec<(&'static str, Json)> {
        vec![("n", self.n.into())]
    }

    fn output(&self) -> ValueType {
        ValueType::List(Box::new(self.input.clone()))
    }

    fn empty(&self) -> Latest {
        Vec::new()
    }

    fn absorb(&self, latest: &mut Latest, stamp: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind> {
        let at = latest.partition_point(|held| held.stamp() > stamp);
        if at < self.room() {
            latest.insert(at, Stamped::new(stamp, value));
            latest.truncate(self.room());
        }
        Ok(())
    }

    fn merge(&self, latest: &mut Latest, other: &Latest) -> Result<(), WrongKind> {
        latest.extend(other.iter().cloned());
        self.keep_latest(latest);
        Ok(())
    }

    fn take(&self, latest: &mut Latest, other: Latest) -> Result<(), WrongKind> {
        latest.extend(other);
        self.keep_latest(latest);
        Ok(())
    }

    fn finish(&self, latest: &Latest, _: At) -> Result<Option<Json>, FinishError> {
        let values = || latest.iter().map(|held| held.value.to_json(&self.input)).collect();
        Ok((!latest.is_empty()).then(values))
    }

    fn write(latest: &Latest, writer: &mut Writer) {
        writer.byte(TAG);
        writer.length(latest.len());
        latest.iter().for_each(|stamped| stamped.write(writer));
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Latest, DecodeError> {
        expect_tag(reader, TAG)?;
        let length = reader.length()?;
        (0..length).map(|_| Stamped::read(reader)).collect()
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        expect_tag(reader, TAG)?;
        (0..reader.length()?).try_for_each(|_| Stamped::skip(reader))
    }

    fn max_bytes(&self) -> u64 {
        let values = Stamped::max_bytes(&self.input).saturating_mul(u64::from(self.n));
        values.saturating_add(1 + NUMBER_BYTES)
    }

    fn max_shown_bytes(&self) -> u64 {
        (shown::max_bytes(&self.input) + NUMBER_BYTES).saturating_mul(u64::from(self.n))
    }

    // An entry is a tuple of the five stamp columns and the value, so the value is its sixth part.
    fn sql(&self, SqlInput { value, counts }: &SqlInput<'_>) -> String {
        format!(
            "toJSONString(arrayMap(entry -> toString(entry.6), arraySlice(arrayReverseSort(\
             groupArrayIf(({STAMP_COLUMNS}, {value}), {counts})), 1, {})))",
            self.n
        )
    }

    // SQL leaves the stamps out, so this state can be finished, but not merged.
    fn read_sql(&self, text: &str) -> Option<Latest> {
        let texts: Vec<String> = serde_json::from_str(text).ok()?;
        texts.iter().map(|text| sql::scalar(&self.input, text).map(Stamped::from_sql)).collect()
    }
}
