//! How a value is read of an event's row: the same values that `Scalar::read` gives, or NULL where that refuses.

use crate::decimal::DecimalType;
use crate::definitions::{Definitions, InputSource, ValueType};
use crate::scalar::MAX_TEXT_BYTES;

use super::{quote_name, quote_text};

/// An RFC 3339 time, which is all that `Scalar::read` takes besides epoch milliseconds.
const RFC_3339: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$";

/// An expression over a row of `events` for one input of a view, nullable.
pub fn input(definitions: &Definitions, source: &InputSource, kind: &ValueType) -> String {
    match source {
        InputSource::Key(entity) => {
            let field = definitions.entities[*entity].key.first().map_or("", |(name, _)| name.as_str());
            quote_name(field)
        }
        InputSource::Property(segments) if *kind == ValueType::Any => presence(segments),
        InputSource::Property(segments) if *kind == ValueType::String => {
            format!("if(length({}) > {MAX_TEXT_BYTES}, NULL, {})", text(segments), property(segments, kind))
        }
        InputSource::Property(segments) => property(segments, kind),
        InputSource::Column(name) => quote_name(name),
    }
}

/// A text where the property is present, of any type: a `count` needs nothing else.
fn presence(segments: &[String]) -> String {
    // An object is not a value of its own path; the paths below it show it.
    format!("if(isNotNull({}) OR toJSONString({}) != '{{}}', '', NULL)", path(segments), object(segments))
}

/// The property as `kind`.
pub fn property(segments: &[String], kind: &ValueType) -> String {
    let (path, text) = (path(segments), text(segments));
    match kind {
        // A number with a fraction has many texts, a list too: `Scalar::read` takes neither for a text.
        ValueType::String => {
            format!("if(dynamicType({path}) = 'Float64' OR startsWith(dynamicType({path}), 'Array'), NULL, {text})")
        }
        ValueType::Any => text,
        ValueType::Int64 => format!("toInt64OrNull({text})"),
        ValueType::Bool => format!("{path}.:`Bool`"),
        ValueType::Float64 => {
            let value = format!("toFloat64OrNull({text})");
            format!("if(isFinite({value}), {value}, NULL)")
        }
        ValueType::Timestamp => {
            let parsed = format!("toUnixTimestamp64Milli(parseDateTime64BestEffortOrNull(upper({text}), 3, 'UTC'))");
            format!("coalesce(toInt64OrNull({text}), if(match({text}, {}), {parsed}, NULL))", quote_text(RFC_3339))
        }
        ValueType::Decimal(shape) => {
            let digits = quote_text(&digits(*shape));
            format!("if(match({text}, {digits}), toDecimal128OrNull({text}, {}), NULL)", shape.scale)
        }
        ValueType::List(_) | ValueType::Vector(_) => {
            format!("if(startsWith(dynamicType({path}), 'Array'), toJSONString({path}), NULL)")
        }
        ValueType::Map(_) => format!("nullIf(toJSONString({}), '{{}}')", object(segments)),
    }
}

/// The pattern of a decimal of that shape. ClickHouse would cut the digits that do not fit.
fn digits(shape: DecimalType) -> String {
    format!("^-?0*[0-9]{{0,{}}}([.][0-9]{{0,{}}}0*)?$", shape.precision - shape.scale, shape.scale)
}

fn text(segments: &[String]) -> String {
    format!("CAST({}, 'Nullable(String)')", path(segments))
}

fn path(segments: &[String]) -> String {
    format!("properties.{}", joined(segments))
}

fn object(segments: &[String]) -> String {
    format!("properties.^{}", joined(segments))
}

fn joined(segments: &[String]) -> String {
    segments.iter().map(|segment| quote_name(segment)).collect::<Vec<_>>().join(".")
}
