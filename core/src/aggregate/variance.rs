//! `var_pop`, `var_samp`, `stddev_pop` and `stddev_samp`: how far values lie from their mean. The count, the sum and the
//! sum of squares are exact integers, so the order of the values does not matter. Only the finished value is rounded.

use ethnum::{I256, U256};
use serde_json::Value as Json;

use super::fold::{Fold, expect_tag};
use super::number::{count_to_f64, float_json};
use super::options::summable;
use super::{At, FinishError, InvalidAggregate, Options, SqlInput, Stamp, WrongKind};
use crate::bytes::{DecodeError, NUMBER_BYTES, Reader, Writer};
use crate::definitions::ValueType;
use crate::scalar::Scalar;

const TAG: u8 = 11;
/// The bytes of a sum and of a sum of squares.
const WIDE_BYTES: usize = 32;

/// A declared variance, or with `ROOT` a standard deviation. With `SAMPLE` the values are a sample: the divisor is one
/// less than their count.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread<const ROOT: bool, const SAMPLE: bool> {
    /// Digits after the point of the values; 0 for integers.
    scale: u8,
}

/// A declared `var_pop`.
pub type VarPop = Spread<false, false>;
/// A declared `var_samp`.
pub type VarSamp = Spread<false, true>;
/// A declared `stddev_pop`.
pub type StddevPop = Spread<true, false>;
/// A declared `stddev_samp`.
pub type StddevSamp = Spread<true, true>;

/// The moments of integers, or of units of a decimal. A value has at most 28 digits, so neither sum can overflow before
/// the count does. The state is boxed because it is larger than the other states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// How many values. It stays at its maximum once it reaches it.
    count: u64,
    sum: I256,
    squares: U256,
}

impl<const ROOT: bool, const SAMPLE: bool> Fold for Spread<ROOT, SAMPLE> {
    const NAME: &'static str = match (ROOT, SAMPLE) {
        (false, false) => "var_pop",
        (false, true) => "var_samp",
        (true, false) => "stddev_pop",
        (true, true) => "stddev_samp",
    };
    const SINCE: u32 = 1;
    const EXAMPLES: &'static [&'static str] = match (ROOT, SAMPLE) {
        (false, false) => &["agg: var_pop"],
        (false, true) => &["agg: var_samp"],
        (true, false) => &["agg: stddev_pop"],
        (true, true) => &["agg: stddev_samp"],
    };
    type State = Box<Moments>;

    /// Floats are refused: a variance of floats depends on the order in which they are added.
    fn parse(_: &mut Options, input: Option<&ValueType>) -> Result<Self, InvalidAggregate> {
        match summable(Self::NAME, input)? {
            ValueType::Int64 => Ok(Self { scale: 0 }),
            ValueType::Decimal(shape) => Ok(Self { scale: shape.scale }),
            other => Err(InvalidAggregate::WrongInput { name: Self::NAME, input: other.to_string() }),
        }
    }

    fn output(&self) -> ValueType {
        ValueType::Float64
    }

    fn empty(&self) -> Box<Moments> {
        Box::default()
    }

    fn absorb(&self, moments: &mut Box<Moments>, _: Stamp<'_>, value: &Scalar<'_>) -> Result<(), WrongKind> {
        match value {
            Scalar::Int(value) => moments.add(i128::from(*value)),
            Scalar::Decimal(units) => moments.add(*units),
            Scalar::Float(_) | Scalar::Bool(_) | Scalar::Text(_) | Scalar::Json(_) => return Err(WrongKind),
        }
        Ok(())
    }

    fn merge(&self, moments: &mut Box<Moments>, other: &Box<Moments>) -> Result<(), WrongKind> {
        moments.join(other);
        Ok(())
    }

    fn finish(&self, moments: &Box<Moments>, _: At) -> Result<Option<Json>, FinishError> {
        let divisor = moments.count.saturating_sub(u64::from(SAMPLE));
        if divisor == 0 {
            return Ok(None);
        }
        let distances = moments.distances().ok_or(FinishError::TooManyToSquare)?;
        let squared_unit = 10f64.powi(2 * i32::from(self.scale));
        let variance = distances.as_f64() / count_to_f64(moments.count) / count_to_f64(divisor) / squared_unit;
        Ok(Some(float_json(if ROOT { variance.sqrt() } else { variance })))
    }

    fn write(moments: &Box<Moments>, writer: &mut Writer) {
        writer.byte(TAG);
        writer.unsigned(u128::from(moments.count));
        writer.fixed(&moments.sum.to_le_bytes());
        writer.fixed(&moments.squares.to_le_bytes());
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Box<Moments>, DecodeError> {
        expect_tag(reader, TAG)?;
        let count = reader.unsigned64()?;
        let sum = I256::from_le_bytes(reader.fixed()?);
        let squares = U256::from_le_bytes(reader.fixed()?);
        Ok(Box::new(Moments { count, sum, squares }))
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        expect_tag(reader, TAG)?;
        reader.skip_numbers(1)?;
        reader.skip(2 * WIDE_BYTES)
    }

    fn max_bytes(&self) -> u64 {
        1 + NUMBER_BYTES + 2 * WIDE_BYTES as u64
    }

    /// ClickHouse's sums wrap, so they are taken in 256 bits, which no count of values fills.
    fn sql(&self, SqlInput { value, counts }: &SqlInput<'_>) -> String {
        let wide = match self.scale {
            0 => format!("toInt256({value})"),
            scale => format!("toDecimal256({value}, {scale})"),
        };
        format!(
            "concat(toString(countIf({counts})), '|', toString(sumIf({wide}, {counts})), '|', \
             toString(sumIf({wide} * {wide}, {counts})))"
        )
    }

    fn read_sql(&self, text: &str) -> Option<Box<Moments>> {
        let (count, sums) = text.split_once('|')?;
        let (sum, squares) = sums.split_once('|')?;
        let scale = usize::from(self.scale);
        Some(Box::new(Moments {
            count: count.parse().ok()?,
            sum: units(sum, scale)?.parse().ok()?,
            // A product of decimals has the digits of both factors after the point.
            squares: units(squares, 2 * scale)?.parse().ok()?,
        }))
    }
}

impl Moments {
    fn add(&mut self, value: i128) {
        let magnitude = U256::from(value.unsigned_abs());
        self.join(&Self { count: 1, sum: I256::from(value), squares: magnitude * magnitude });
    }

    fn join(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
    }

    /// `n·Σx² − (Σx)²`: the count times the sum of the squared distances from the mean. None where it is not exact.
    fn distances(&self) -> Option<U256> {
        if self.count == u64::MAX {
            return None;
        }
        let magnitude = self.sum.unsigned_abs();
        U256::from(self.count).checked_mul(self.squares)?.checked_sub(magnitude.checked_mul(magnitude)?)
    }
}

/// The digits of a number without its point, as a number of units of `10^-scale`. ClickHouse leaves out zeros at the end.
fn units(text: &str, scale: usize) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    (fraction.len() <= scale).then(|| format!("{whole}{fraction:0<scale$}"))
}
