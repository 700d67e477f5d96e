//! Parses conditions such as `income = 50-74K`, `age>=25`, `plan in a,b` and `income exists` into typed tests of one
//! feature's value. A condition that does not fit the declared type is refused, and the error says what would fit.

use millrace_common::stores::profiles::{Condition, Test};
use millrace_core::decimal::DecimalType;
use millrace_core::definitions::{ValueType, View};
use serde_json::Value as Json;

use crate::error::{RequestError, list};
use crate::instant;

/// The most values after `in`.
const MOST_LISTED: usize = 100;
/// The most digits that MongoDB compares as a number.
const DECIMAL_DIGITS: u8 = 34;
/// The operators as texts. Each stands before those that it begins with.
const OPERATORS: [(&str, Operator); 8] = [
    ("!=", Operator::IsNot),
    (">=", Operator::From),
    ("<=", Operator::UpTo),
    ("=", Operator::Is),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("in", Operator::OneOf),
    ("exists", Operator::Exists),
];

/// How a condition compares a value.
#[derive(Clone, Copy)]
enum Operator {
    Is,
    IsNot,
    From,
    UpTo,
    Above,
    Below,
    OneOf,
    Exists,
}

/// Parses one condition on a feature of `view`.
pub fn condition(view: &View, text: &str) -> Result<Condition, RequestError> {
    let wrong = |error: String| RequestError::invalid("where", format!("`{text}`: {error}"));
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let written = text.trim_start();
    let (name, rest) = written.split_at(written.find(|c| !of_name(c)).unwrap_or(written.len()));
    let Some(feature) = view.feature(name) else {
        let known: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
        let error = format!("`{text}`: no feature `{name}` in view `{}`; there is {}", view.id(), list(known));
        return Err(RequestError::unknown("where", error));
    };
    let rest = rest.trim_start();
    let Some((written, operator)) = OPERATORS.into_iter().find(|(operator, _)| begins_with(rest, operator)) else {
        let known = list(OPERATORS.map(|(operator, _)| operator));
        return Err(wrong(format!("after the feature comes one of {known}")));
    };
    let value = rest[written.len()..].trim_start();
    let kind = &view.features[feature].value_type;
    operator.refuse_other_types(kind, written).map_err(wrong)?;
    let test = operator.test(kind, value).map_err(wrong)?;
    Ok(Condition { feature, test })
}

/// Whether a text begins with an operator. An operator that is a word must not continue with a letter or digit.
fn begins_with(text: &str, operator: &str) -> bool {
    let is_word = operator.starts_with(|c: char| c.is_ascii_alphabetic());
    text.strip_prefix(operator).is_some_and(|rest| !is_word || !rest.starts_with(|c: char| c.is_alphanumeric()))
}

impl Operator {
    /// An error where values of a type cannot be compared in this way.
    fn refuse_other_types(self, kind: &ValueType, written: &str) -> Result<(), String> {
        let is_ordered = match self {
            Self::Exists => return Ok(()),
            Self::From | Self::UpTo | Self::Above | Self::Below => true,
            Self::Is | Self::IsNot | Self::OneOf => false,
        };
        if !kind.is_scalar() || *kind == ValueType::Any || (is_ordered && *kind == ValueType::Bool) {
            let operators = if *kind == ValueType::Bool { "=, !=, in, exists" } else { "exists" };
            return Err(format!("a {kind} is not compared with `{written}`; there is {operators}"));
        }
        Ok(())
    }

    fn test(self, kind: &ValueType, text: &str) -> Result<Test, String> {
        Ok(match self {
            Self::Exists if text.trim_end().is_empty() => Test::Exists,
            Self::Exists => return Err("nothing follows `exists`".to_owned()),
            Self::OneOf => Test::OneOf(listed(text)?.iter().map(|text| value(kind, text)).collect::<Result<_, _>>()?),
            Self::Is => Test::Is(value(kind, text)?),
            Self::IsNot => Test::IsNot(value(kind, text)?),
            Self::Below => Test::Below(value(kind, text)?),
            Self::UpTo => Test::UpTo(value(kind, text)?),
            Self::Above => Test::Above(value(kind, text)?),
            Self::From => Test::From(value(kind, text)?),
        })
    }
}

/// Parses the values after `in`: `a,b`, or a JSON list where a value contains a comma.
fn listed(text: &str) -> Result<Vec<String>, String> {
    let values: Vec<String> = if text.starts_with('[') {
        let values: Vec<Json> = serde_json::from_str(text).map_err(|error| format!("not a JSON list: {error}"))?;
        values.into_iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
    } else {
        text.split(',').map(|value| value.trim().to_owned()).collect()
    };
    if values.len() > MOST_LISTED {
        return Err(format!("{} values after `in`; the most is {MOST_LISTED}", values.len()));
    }
    Ok(values)
}

/// Parses a value into the form in which readers get it.
fn value(kind: &ValueType, text: &str) -> Result<Json, String> {
    let wrong = || format!("`{text}` is not of type {kind}");
    match kind {
        ValueType::String if text.starts_with('"') => {
            serde_json::from_str::<String>(text).map(Json::String).map_err(|_| format!("`{text}` is not a JSON text"))
        }
        ValueType::String => Ok(Json::String(text.to_owned())),
        ValueType::Int64 => text.parse::<i64>().map(Json::from).map_err(|_| wrong()),
        ValueType::Float64 => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Json::from).ok_or_else(wrong),
        ValueType::Decimal(shape) => {
            let comparable = DecimalType { precision: DECIMAL_DIGITS, scale: shape.scale };
            comparable
                .parse(text)
                .map(|units| Json::String(comparable.format(units)))
                .map_err(|error| error.to_string())
        }
        ValueType::Bool => text.parse::<bool>().map(Json::Bool).map_err(|_| wrong()),
        ValueType::Timestamp => {
            let instant = instant::parse(text).map(Json::from);
            instant.map_err(|_| format!("{}: expected RFC 3339 or epoch milliseconds", wrong()))
        }
        ValueType::Any | ValueType::List(_) | ValueType::Map(_) | ValueType::Vector(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::{Definitions, DefinitionsSource};
    use serde_json::json;

    const YAML: &str = r#"
entities: { user: { key: user_id, type: string } }
events: { survey: { partition_by: user } }
views:
  - name: profile
    entity: user
    store: mongodb
    from: [survey]
    features:
      - { name: income, agg: last, value: properties.income, type: "decimal(18,2)" }
      - { name: born, agg: last, value: properties.born, type: timestamp }
      - { name: plan, agg: last, value: properties.plan, type: string }
      - { name: active, agg: last, value: properties.active, type: bool }
      - { name: score, agg: last, value: properties.score, type: float64 }
      - { name: surveys, agg: count }
      - { name: plans, agg: last_n, n: 2, value: properties.plan, type: string }
"#;

    fn of(text: &str) -> Result<(usize, Test), String> {
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        let view = Definitions::compile(source).unwrap().views.remove(0);
        condition(&view, text).map(|found| (found.feature, found.test)).map_err(|error| error.to_string())
    }

    #[test]
    fn values_have_the_declared_type() {
        for (text, feature, test) in [
            ("income>=1.5", 0, Test::From(json!("1.50"))),
            ("income != -12", 0, Test::IsNot(json!("-12.00"))),
            ("born < 2020-01-01T00:00:00Z", 1, Test::Below(json!(1_577_836_800_000i64))),
            ("born>1577836800000", 1, Test::Above(json!(1_577_836_800_000i64))),
            ("plan=50-74K", 2, Test::Is(json!("50-74K"))),
            ("plan = in, >=2 'x", 2, Test::Is(json!("in, >=2 'x"))),
            (r#"plan=" a\"""#, 2, Test::Is(json!(" a\""))),
            ("plan={\"$gt\":\"\"}", 2, Test::Is(json!("{\"$gt\":\"\"}"))),
            ("plan=", 2, Test::Is(json!(""))),
            ("plan in a, b", 2, Test::OneOf(vec![json!("a"), json!("b")])),
            (r#"plan in ["a,b"]"#, 2, Test::OneOf(vec![json!("a,b")])),
            ("active=true", 3, Test::Is(json!(true))),
            ("score<=0.5", 4, Test::UpTo(json!(0.5))),
            ("surveys in 1,2", 5, Test::OneOf(vec![json!(1), json!(2)])),
            ("plans exists", 6, Test::Exists),
        ] {
            assert_eq!(of(text), Ok((feature, test)), "{text}");
        }
    }

    #[test]
    fn a_condition_that_does_not_fit_is_refused_and_the_error_says_what_would() {
        for (text, said) in [
            ("", "no feature `` in view `profile@1`; there is income, born"),
            ("incom=1", "no feature `incom` in view `profile@1`; there is income, born"),
            ("$where=1", "no feature ``"),
            ("income", "after the feature comes one of !=, >="),
            ("income inside", "after the feature comes one of"),
            ("income~1", "after the feature comes one of"),
            ("income=1.005", "more than 2 digits"),
            ("income=lots", "`lots` is not a decimal number"),
            ("born=yesterday", "expected RFC 3339 or epoch milliseconds"),
            ("active>true", "a bool is not compared with `>`; there is =, !=, in, exists"),
            ("active=1", "`1` is not of type bool"),
            ("score=NaN", "`NaN` is not of type float64"),
            ("surveys=1.5", "`1.5` is not of type int64"),
            ("surveys in 1,x", "`x` is not of type int64"),
            ("plans=a", "a list<string> is not compared with `=`; there is exists"),
            ("plan exists 1", "nothing follows `exists`"),
            ("plan in [1", "not a JSON list"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let many = vec!["a"; 101].join(",");
        assert!(of(&format!("plan in {many}")).unwrap_err().contains("101 values after `in`; the most is 100"));
    }
}
