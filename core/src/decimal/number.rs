//! A decimal number that keeps the digits it came with: what expressions compute with. Every operation is exact, or
//! rounds as its name says, or returns None when the result has too many digits.

use std::fmt;

/// The most digits of a decimal: 10^38 is the largest power of ten in an `i128` and in ClickHouse's `Decimal128`.
pub const MAX_PRECISION: u8 = 38;

/// `units × 10^-scale`. Equal numbers of different scales are equal.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// The number without its point.
    pub units: i128,
    /// Digits after the point.
    pub scale: u32,
}

impl Decimal {
    /// Reads `[-]digits[.digits]` and keeps every digit.
    pub fn parse(text: &str) -> Option<Self> {
        let digits_after_point = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let scale = u32::try_from(digits_after_point).unwrap_or(u32::MAX);
        Self::parse_rounded(text, scale.min(u32::from(MAX_PRECISION)))
    }

    /// Reads `[-]digits[.digits]` and rounds it to `scale` digits after the point, halves away from zero.
    pub fn parse_rounded(text: &str, scale: u32) -> Option<Self> {
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let kept = fraction.len().min(scale as usize);
        let missing = std::iter::repeat_n(b'0', scale as usize - kept);
        let units = units_of(whole.bytes().chain(fraction[..kept].bytes()).chain(missing))?;
        let first_dropped = fraction.as_bytes().get(kept);
        let rounded = units.checked_add(i128::from(first_dropped.is_some_and(|digit| *digit >= b'5')))?;
        Some(Self { units: if negative { -rounded } else { rounded }, scale })
    }

    /// The same number with `scale` digits after the point, halves rounded away from zero.
    pub fn round(self, scale: u32) -> Option<Self> {
        if scale >= self.scale {
            let units = self.units.checked_mul(10i128.checked_pow(scale - self.scale)?)?;
            return Some(Self { units, scale });
        }
        let unit = 10i128.checked_pow(self.scale - scale)?;
        let (quotient, remainder) = (self.units / unit, self.units % unit);
        let carry = if remainder.unsigned_abs() * 2 >= unit.unsigned_abs() { remainder.signum() } else { 0 };
        Some(Self { units: quotient + carry, scale })
    }

    /// The same number as an integer; None when it has a fraction.
    pub fn as_int(self) -> Option<i64> {
        let whole = self.round(0)?;
        let exact = whole.round(self.scale)?.units == self.units;
        if exact { i64::try_from(whole.units).ok() } else { None }
    }

    /// Both numbers at the larger of their scales.
    pub fn align(self, other: Self) -> Option<(Self, Self)> {
        let scale = self.scale.max(other.scale);
        Some((self.round(scale)?, other.round(scale)?))
    }

    /// The sum, at the larger scale.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (a, b) = self.align(other)?;
        Some(Self { units: a.units.checked_add(b.units)?, scale: a.scale })
    }

    /// The difference, at the larger scale.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let (a, b) = self.align(other)?;
        Some(Self { units: a.units.checked_sub(b.units)?, scale: a.scale })
    }

    /// The product, at the sum of the scales.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        Some(Self { units: self.units.checked_mul(other.units)?, scale: self.scale.checked_add(other.scale)? })
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.align(*other).is_some_and(|(a, b)| a.units == b.units)
    }
}

impl From<i64> for Decimal {
    fn from(whole: i64) -> Self {
        Self { units: i128::from(whole), scale: 0 }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", self.units.unsigned_abs(), width = self.scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.scale as usize);
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// The number that ASCII digits denote; None when it does not fit.
pub(super) fn units_of(digits: impl Iterator<Item = u8>) -> Option<i128> {
    let mut units: i128 = 0;
    for digit in digits {
        units = units.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn a_float_near_a_cent_becomes_that_cent() {
        for (float, cents) in [(0.99, "0.99"), (1.776_357e-15, "0.00"), (5.551_115e-17, "0.00"), (840.0, "840.00")] {
            assert_eq!(Decimal::parse_rounded(&float.to_string(), 2).unwrap().to_string(), cents);
        }
        assert_eq!(Decimal::parse_rounded("-1.005", 2).unwrap().to_string(), "-1.01");
        assert_eq!(Decimal::parse_rounded("0.285", 2).unwrap().to_string(), "0.29");
    }

    #[test]
    fn rounding_goes_half_away_from_zero() {
        assert_eq!(decimal("2.5").round(0).unwrap().to_string(), "3");
        assert_eq!(decimal("-2.5").round(0).unwrap().to_string(), "-3");
        assert_eq!(decimal("2.49").round(1).unwrap().to_string(), "2.5");
        assert_eq!(decimal("-0.05").to_string(), "-0.05");
    }

    #[test]
    fn only_whole_numbers_are_ints() {
        assert_eq!(decimal("17850.0").as_int(), Some(17850));
        assert_eq!(decimal("17850.5").as_int(), None);
        assert_eq!(Decimal::parse("1e5"), None);
        assert_eq!(Decimal::parse(&"9".repeat(40)), None);
    }

    #[test]
    fn arithmetic_is_exact_or_none() {
        assert_eq!(decimal("0.1").checked_add(decimal("0.25")).unwrap().to_string(), "0.35");
        assert_eq!(decimal("2").checked_sub(decimal("0.50")).unwrap().to_string(), "1.50");
        assert_eq!(decimal("2.50").checked_mul(decimal("2.50")).unwrap().to_string(), "6.2500");
        let largest = Decimal { units: i128::MAX, scale: 0 };
        assert_eq!(largest.checked_add(decimal("1")), None);
        assert_eq!(largest.checked_mul(decimal("2")), None);
        assert_eq!(largest.checked_add(decimal("0.1")), None, "no common scale holds both");
        let finest = Decimal { units: 1, scale: u32::MAX };
        assert_eq!(finest.checked_mul(finest), None);
    }
}
