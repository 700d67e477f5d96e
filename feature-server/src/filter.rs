//! Conditions as requests write them: `income = 50-74K`, `age>=25`, `plan in a,b`, `income exists`. Each becomes a typed
//! test of one feature's value; what does not fit the declared type is refused, and says what would.

use millrace_common::stores::profiles::{Condition, Test};
use millrace_core::decimal::DecimalType;
use millrace_core::definitions::{ValueType, View};
use serde_json::Value as Json;

use crate::ask;
use crate::error::RequestError;

/// The most values after `in`.
const MOST_LISTED: usize = 100;
/// Digits that MongoDB compares as a number.
const DECIMAL_DIGITS: u8 = 34;
/// Longer ones before those that they begin with.
const OPERATORS: [&str; 8] = ["!=", ">=", "<=", "=", ">", "<", "in", "exists"];

/// Reads one condition on a feature of `view`.
pub fn condition(view: &View, text: &str) -> Result<Condition, RequestError> {
    let wrong = |error: String| RequestError::invalid("where", format!("`{text}`: {error}"));
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let written = text.trim_start();
    let (name, rest) = written.split_at(written.find(|c| !of_name(c)).unwrap_or(written.len()));
    let Some(feature) = view.feature(name) else {
        let known: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
        let error = format!("`{text}`: no feature `{name}` in view `{}`; there is {}", view.id(), known.join(", "));
        return Err(RequestError::unknown("where", error));
    };
    let rest = rest.trim_start();
    let Some(operator) = OPERATORS.into_iter().find(|operator| begins_with(rest, operator)) else {
        return Err(wrong(format!("after the feature comes one of {}", OPERATORS.join(", "))));
    };
    let value = rest[operator.len()..].trim_start();
    let test = test(&view.features[feature].value_type, operator, value).map_err(wrong)?;
    Ok(Condition { feature, test })
}

/// A word ends where the word ends.
fn begins_with(text: &str, operator: &str) -> bool {
    let is_word = operator.starts_with(|c: char| c.is_ascii_alphabetic());
    text.strip_prefix(operator).is_some_and(|rest| !is_word || !rest.starts_with(|c: char| c.is_alphanumeric()))
}

fn test(kind: &ValueType, operator: &str, text: &str) -> Result<Test, String> {
    if operator == "exists" {
        return if text.trim_end().is_empty() { Ok(Test::Exists) } else { Err("nothing follows `exists`".to_owned()) };
    }
    let is_ordered = operator.starts_with(['<', '>']);
    if !kind.is_scalar() || *kind == ValueType::Any || (is_ordered && *kind == ValueType::Bool) {
        let operators = if *kind == ValueType::Bool { "=, !=, in, exists" } else { "exists" };
        return Err(format!("a {kind} is not compared with `{operator}`; there is {operators}"));
    }
    if operator == "in" {
        return Ok(Test::OneOf(listed(text)?.iter().map(|text| value(kind, text)).collect::<Result<_, _>>()?));
    }
    let value = value(kind, text)?;
    Ok(match operator {
        "=" => Test::Is(value),
        "!=" => Test::IsNot(value),
        "<" => Test::Below(value),
        "<=" => Test::UpTo(value),
        ">" => Test::Above(value),
        _ => Test::From(value),
    })
}

/// `a,b`, or a JSON list where a value has a comma itself.
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

/// A value in the form in which readers get it.
fn value(kind: &ValueType, text: &str) -> Result<Json, String> {
    let wrong = || format!("`{text}` is no {kind}");
    match kind {
        ValueType::String if text.starts_with('"') => {
            serde_json::from_str::<String>(text).map(Json::String).map_err(|_| format!("`{text}` is no JSON text"))
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
            let instant = ask::instant(text).map(Json::from);
            instant.map_err(|_| format!("{}: expected RFC 3339 or epoch milliseconds", wrong()))
        }
        _ => Err(wrong()),
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
    fn what_does_not_fit_is_refused_and_says_what_would() {
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
            ("active=1", "`1` is no bool"),
            ("score=NaN", "`NaN` is no float64"),
            ("surveys=1.5", "`1.5` is no int64"),
            ("surveys in 1,x", "`x` is no int64"),
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
