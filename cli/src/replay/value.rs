//! One value of a source row: what readers give, what expressions work on, and how it is written as JSON.

use std::fmt;

use serde_json::value::RawValue;

/// A value as a file has it. Numbers stay exact: nothing here computes with floats.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Absent, empty in CSV, or null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fixed count of digits after the point.
    Decimal(Decimal),
    /// A float, which may only be compared, written or rounded by `decimal`.
    Float(f64),
    /// Text.
    Text(String),
    /// Milliseconds since the epoch, UTC.
    Time(i64),
    /// A list or object of an NDJSON file, passed on as it stands.
    Json(Box<RawValueEq>),
}

/// Raw JSON that can be compared by its text.
#[derive(Clone, Debug)]
pub struct RawValueEq(pub Box<RawValue>);

impl PartialEq for RawValueEq {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// `units × 10^-scale`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// The number without its point.
    pub units: i128,
    /// Digits after the point.
    pub scale: u32,
}

/// The most digits after the point, and the most digits in all.
pub const MAX_DIGITS: u32 = 38;

/// A text that is no plain decimal number, or has too many digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no decimal number of at most {MAX_DIGITS} digits")]
pub struct NoDecimal(String);

impl Decimal {
    /// Reads `[-]digits[.digits]`, keeping every digit.
    pub fn parse(text: &str) -> Result<Self, NoDecimal> {
        let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let scale = u32::try_from(fraction).unwrap_or(u32::MAX);
        Self::round_text(text, scale.min(MAX_DIGITS))
    }

    /// Reads `[-]digits[.digits]` and rounds it to `scale` digits after the point, halves away from zero.
    pub fn round_text(text: &str, scale: u32) -> Result<Self, NoDecimal> {
        let invalid = || NoDecimal(text.chars().take(60).collect());
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return Err(invalid());
        }
        let kept = fraction.len().min(scale as usize);
        let digits = whole.bytes().chain(fraction[..kept].bytes());
        let missing = std::iter::repeat_n(b'0', scale as usize - kept);
        let mut units: i128 = 0;
        for digit in digits.chain(missing) {
            units = units
                .checked_mul(10)
                .and_then(|units| units.checked_add(i128::from(digit - b'0')))
                .ok_or_else(invalid)?;
        }
        let first_dropped = fraction.as_bytes().get(kept);
        let rounded = units + i128::from(first_dropped.is_some_and(|digit| *digit >= b'5'));
        Ok(Self { units: if negative { -rounded } else { rounded }, scale })
    }

    /// The same number with another count of digits after the point, halves away from zero; none if it is too large.
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

    /// The whole number that this is, if it is one.
    pub fn as_int(self) -> Option<i64> {
        let whole = self.round(0)?;
        let exact = whole.round(self.scale)?.units == self.units;
        if exact { i64::try_from(whole.units).ok() } else { None }
    }

    /// Both at the larger scale.
    pub fn align(self, other: Self) -> Option<(Self, Self)> {
        let scale = self.scale.max(other.scale);
        Some((self.round(scale)?, other.round(scale)?))
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

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "a whole number",
            Self::Decimal(_) => "a decimal",
            Self::Float(_) => "a float",
            Self::Text(_) => "text",
            Self::Time(_) => "a time",
            Self::Json(_) => "a list or object",
        }
    }

    /// Appends it as JSON: decimals as strings, so that no reader bends them; times in epoch ms.
    pub fn write_json(&self, out: &mut String) {
        use std::fmt::Write;
        let written = match self {
            Self::Null => write!(out, "null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) | Self::Time(value) => write!(out, "{value}"),
            Self::Decimal(value) => write!(out, "\"{value}\""),
            Self::Float(value) if value.is_finite() => write!(out, "{value}"),
            Self::Float(_) => write!(out, "null"),
            Self::Text(text) => write!(out, "{}", serde_json::Value::from(text.as_str())),
            Self::Json(raw) => write!(out, "{}", raw.0.get()),
        };
        debug_assert!(written.is_ok(), "a String takes any text");
    }
}

/// Plain text, as `concat` and `text` see it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) | Self::Time(value) => value.fmt(f),
            Self::Decimal(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Json(raw) => f.write_str(raw.0.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_near_a_cent_becomes_that_cent() {
        for (float, cents) in [(0.99, "0.99"), (1.776_357e-15, "0.00"), (5.551_115e-17, "0.00"), (840.0, "840.00")] {
            assert_eq!(Decimal::round_text(&float.to_string(), 2).unwrap().to_string(), cents);
        }
        assert_eq!(Decimal::round_text("-1.005", 2).unwrap().to_string(), "-1.01");
        assert_eq!(Decimal::round_text("0.285", 2).unwrap().to_string(), "0.29");
    }

    #[test]
    fn rounding_goes_half_away_from_zero() {
        let decimal = |text| Decimal::parse(text).unwrap();
        assert_eq!(decimal("2.5").round(0).unwrap().to_string(), "3");
        assert_eq!(decimal("-2.5").round(0).unwrap().to_string(), "-3");
        assert_eq!(decimal("2.49").round(1).unwrap().to_string(), "2.5");
        assert_eq!(decimal("-0.05").to_string(), "-0.05");
    }

    #[test]
    fn only_whole_numbers_are_ints() {
        assert_eq!(Decimal::parse("17850.0").unwrap().as_int(), Some(17850));
        assert_eq!(Decimal::parse("17850.5").unwrap().as_int(), None);
        assert!(Decimal::parse("1e5").is_err());
        assert!(Decimal::parse(&"9".repeat(40)).is_err());
    }

    #[test]
    fn json_keeps_every_digit() {
        let mut out = String::new();
        for value in [Value::Decimal(Decimal::parse("1.10").unwrap()), Value::Text("a\"b".into()), Value::Int(-3)] {
            value.write_json(&mut out);
            out.push(' ');
        }
        assert_eq!(out, r#""1.10" "a\"b" -3 "#);
    }
}
