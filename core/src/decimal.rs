//! Exact decimals. A declared decimal is an `i128` of the smallest unit at the declared scale; a number with more digits
//! than declared is refused, never rounded. Numbers that keep their own scale are in `number`.

mod number;

use std::fmt;

pub use number::{Decimal, MAX_PRECISION};

/// The declared shape of a decimal: `decimal(precision, scale)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalType {
    /// Digits in all, at most [`MAX_PRECISION`].
    pub precision: u8,
    /// Digits after the point, at most `precision`.
    pub scale: u8,
}

/// Why a text is not a decimal of the declared shape.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidDecimal {
    /// Not a number in JSON's grammar.
    #[error("`{0}` is not a decimal number")]
    NotANumber(String),
    /// Digits that the scale would lose.
    #[error("`{text}` has more than {scale} digits after the point")]
    TooFine {
        /// The text.
        text: String,
        /// The declared scale.
        scale: u8,
    },
    /// More digits than the precision.
    #[error("`{text}` has more than {precision} digits")]
    TooLarge {
        /// The text.
        text: String,
        /// The declared precision.
        precision: u8,
    },
}

impl DecimalType {
    /// Reads `[-]digits[.digits][e±n]` exactly, as units of `10^-scale`.
    pub fn parse(self, text: &str) -> Result<i128, InvalidDecimal> {
        let not_a_number = || InvalidDecimal::NotANumber(shorten(text));
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| not_a_number())?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let bytes = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || (mantissa.contains('.') && fraction.is_empty()) || !bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_a_number());
        }
        let too_large = || InvalidDecimal::TooLarge { text: shorten(text), precision: self.precision };
        let units = number::units_of(bytes()).ok_or_else(too_large)?;
        let fraction_digits = i32::try_from(fraction.len()).map_err(|_| not_a_number())?;
        let shift = i32::from(self.scale).saturating_add(exponent).saturating_sub(fraction_digits);
        let units = shift_units(units, shift).map_err(|lost| match lost {
            Lost::Digits => InvalidDecimal::TooFine { text: shorten(text), scale: self.scale },
            Lost::Range => too_large(),
        })?;
        if units >= 10i128.pow(u32::from(self.precision)) {
            return Err(too_large());
        }
        Ok(if negative { -units } else { units })
    }

    /// The text of `units`, always with `scale` digits after the point: `12.50`.
    pub fn format(self, units: i128) -> String {
        Decimal { units, scale: u32::from(self.scale) }.to_string()
    }

    /// The nearest float to `units`.
    pub fn to_f64(self, units: i128) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a float is asked for")]
        let float = units as f64;
        float / 10f64.powi(i32::from(self.scale))
    }
}

impl fmt::Display for DecimalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decimal({},{})", self.precision, self.scale)
    }
}

enum Lost {
    Digits,
    Range,
}

/// `units × 10^shift`, exactly or not at all.
fn shift_units(mut units: i128, mut shift: i32) -> Result<i128, Lost> {
    if units == 0 {
        return Ok(0);
    }
    while shift < 0 {
        if units % 10 != 0 {
            return Err(Lost::Digits);
        }
        units /= 10;
        shift += 1;
    }
    while shift > 0 {
        units = units.checked_mul(10).ok_or(Lost::Range)?;
        shift -= 1;
    }
    Ok(units)
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MONEY: DecimalType = DecimalType { precision: 18, scale: 2 };

    #[test]
    fn one_fifteen_stays_one_fifteen() {
        assert_eq!(MONEY.parse("1.15"), Ok(115));
        assert_eq!(MONEY.parse("1.150"), Ok(115));
        assert_eq!(MONEY.parse("115e-2"), Ok(115));
        assert_eq!(MONEY.parse("-0.5"), Ok(-50));
        assert_eq!(MONEY.format(-50), "-0.50");
        assert_eq!(MONEY.parse("0e999999999"), Ok(0));
    }

    #[test]
    fn what_the_scale_would_lose_is_refused() {
        assert!(matches!(MONEY.parse("1.155"), Err(InvalidDecimal::TooFine { .. })));
        assert!(matches!(MONEY.parse("1e30"), Err(InvalidDecimal::TooLarge { .. })));
        assert!(matches!(MONEY.parse("12345678901234567.00"), Err(InvalidDecimal::TooLarge { .. })));
        for text in ["", "-", ".5", "5.", "1e", "0x1", "NaN", "1 ", "+1"] {
            assert!(matches!(MONEY.parse(text), Err(InvalidDecimal::NotANumber(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn format_and_parse_are_inverse(units in -(10i128.pow(18) - 1)..10i128.pow(18)) {
            prop_assert_eq!(MONEY.parse(&MONEY.format(units)), Ok(units));
        }
    }
}
