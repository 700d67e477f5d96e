//! Casts of one value. A cast loses nothing silently, except that `decimal` rounds to the given digits.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use super::error::EvalError;
use super::tree::Cast;
use super::value::ExprValue;
use crate::decimal::Decimal;
use crate::instant;

impl Cast {
    /// Casts a value. Null stays null.
    pub(super) fn apply(&self, value: &ExprValue) -> Result<ExprValue, EvalError> {
        match (self, value) {
            (_, ExprValue::Null) => Ok(ExprValue::Null),
            (Self::Int, value) => int(value).map(ExprValue::Int),
            (Self::Decimal { scale }, value) => decimal(value, *scale).map(ExprValue::Decimal),
            (Self::Text, value) => Ok(ExprValue::Text(value.to_string())),
            (Self::Time { format }, value) => time(value, format.as_deref()).map(ExprValue::Time),
        }
    }
}

fn int(value: &ExprValue) -> Result<i64, EvalError> {
    let not_whole = || EvalError::NotWhole(value.to_string());
    match value {
        ExprValue::Int(whole) | ExprValue::Time(whole) => Ok(*whole),
        ExprValue::Bool(truth) => Ok(i64::from(*truth)),
        ExprValue::Decimal(decimal) => decimal.as_int().ok_or_else(not_whole),
        ExprValue::Float(_) | ExprValue::Text(_) => {
            let text = value.to_string();
            let decimal = Decimal::parse(text.trim()).ok_or(EvalError::NotANumber(text))?;
            decimal.as_int().ok_or_else(not_whole)
        }
        ExprValue::Null | ExprValue::Json(_) => Err(EvalError::NotANumber(value.to_string())),
    }
}

fn decimal(value: &ExprValue, scale: u32) -> Result<Decimal, EvalError> {
    match value {
        ExprValue::Int(whole) => Decimal::from(*whole).round(scale).ok_or(EvalError::TooLarge),
        ExprValue::Decimal(decimal) => decimal.round(scale).ok_or(EvalError::TooLarge),
        // A float stands for the shortest decimal that reads back as it, which is what Display writes.
        ExprValue::Float(_) | ExprValue::Text(_) => {
            let text = value.to_string();
            Decimal::parse_rounded(text.trim(), scale).ok_or(EvalError::NotANumber(text))
        }
        ExprValue::Null | ExprValue::Bool(_) | ExprValue::Time(_) | ExprValue::Json(_) => {
            Err(EvalError::NotANumber(value.to_string()))
        }
    }
}

fn time(value: &ExprValue, format: Option<&str>) -> Result<i64, EvalError> {
    let ms = match (value, format) {
        (ExprValue::Time(ms) | ExprValue::Int(ms), _) => Some(*ms),
        (ExprValue::Text(text), Some(format)) => formatted_time(text.trim(), format),
        (ExprValue::Text(text), None) => iso_time(text.trim()),
        (
            ExprValue::Null | ExprValue::Bool(_) | ExprValue::Decimal(_) | ExprValue::Float(_) | ExprValue::Json(_),
            _,
        ) => None,
    };
    ms.ok_or_else(|| EvalError::NotATime(value.to_string()))
}

/// RFC 3339, or an ISO date with or without a time of day, taken as UTC.
fn iso_time(text: &str) -> Option<i64> {
    instant::from_rfc3339(text)
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok().map(utc_ms))
        .or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(utc_ms))
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(midnight))
}

/// A time in the format, taken as UTC when the format has no offset.
fn formatted_time(text: &str, format: &str) -> Option<i64> {
    let with_offset = DateTime::parse_from_str(text, format).ok().map(|time| time.timestamp_millis());
    with_offset
        .or_else(|| NaiveDateTime::parse_from_str(text, format).ok().map(utc_ms))
        .or_else(|| NaiveDate::parse_from_str(text, format).ok().map(midnight))
}

fn midnight(date: NaiveDate) -> i64 {
    utc_ms(date.and_time(NaiveTime::MIN))
}

fn utc_ms(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_millis()
}
