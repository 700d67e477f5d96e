//! Parses JSON as strictly as the warehouse needs it. Values that ClickHouse's `JSON` column would refuse or change are
//! refused here, with their path. Nulls are dropped, because a null property is the same as an absent one.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a JSON text is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct InvalidJson {
    /// Dotted path from the given root; the root itself when the text is not JSON at all.
    pub path: String,
    /// The reason.
    pub message: String,
}

/// Integers of this size and above do not fit 64 bits. A parser makes floats of them.
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

/// Parses one JSON text. `root` is what errors call it (`properties`).
pub fn parse(text: &str, root: &str) -> Result<Value, InvalidJson> {
    let state = ParseState { path: RefCell::new(root.to_owned()), error: RefCell::default(), vast: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = Strict { state: &state }.deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        // The paths come first: most texts have none, and then nothing goes over the text again.
        let mut vast = state.vast.take().into_iter().zip(vast_numbers(text));
        match vast.find(|(_, number)| is_integer(number)) {
            None => Ok(value),
            Some((path, _)) => {
                *state.path.borrow_mut() = path;
                Err(state.fail("an integer past 64 bits; send it as a string"))
            }
        }
    });
    parsed.map_err(|error| match state.error.into_inner() {
        Some(invalid) => invalid,
        None => InvalidJson { path: root.to_owned(), message: format!("not valid JSON: {error}") },
    })
}

/// The JSON type of a value, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Whether the text of a number is an integer. All its digits count, and a float would lose some.
pub(crate) fn is_integer(text: &str) -> bool {
    !text.contains(['.', 'e', 'E'])
}

/// Whether the number is too large for 64 bits.
pub(crate) fn is_past_64_bits(value: f64) -> bool {
    value.abs() >= TWO_POW_64
}

/// The texts of the numbers past 64 bits in a text that is valid JSON.
fn vast_numbers(text: &str) -> impl Iterator<Item = &str> {
    let in_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let mut rest = text;
    let numbers = std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            rest = &rest[start..];
            if rest.starts_with('"') {
                let mut escaped = false;
                let end = rest[1..].find(|c| {
                    let closes = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    closes
                })?;
                rest = &rest[end + 2..];
                continue;
            }
            let (number, after) = rest.split_at(rest.find(|c| !in_number(c)).unwrap_or(rest.len()));
            rest = after;
            return Some(number);
        }
    });
    numbers.filter(|number| number.parse().is_ok_and(is_past_64_bits))
}

/// A float as a number that the warehouse holds, or why it holds none.
pub(crate) fn checked_float(value: f64) -> Result<Number, &'static str> {
    // serde_json reads `-0` as a float and would write it as one.
    if value == 0.0 {
        return Ok(0.into());
    }
    Number::from_f64(value).ok_or("not a finite number")
}

struct ParseState {
    path: RefCell<String>,
    error: RefCell<Option<InvalidJson>>,
    /// Paths of the numbers past 64 bits, in the order of the text. Only their texts tell integers from floats.
    vast: RefCell<Vec<String>>,
}

impl ParseState {
    fn fail<E: serde::de::Error>(&self, message: &str) -> E {
        let path = self.path.borrow().clone();
        *self.error.borrow_mut() = Some(InvalidJson { path, message: message.to_owned() });
        E::custom(message)
    }

    fn inside<T>(&self, segment: fmt::Arguments<'_>, read: impl FnOnce() -> T) -> T {
        use fmt::Write as _;
        let length = self.path.borrow().len();
        // Writing to a String cannot fail.
        let _ = self.path.borrow_mut().write_fmt(segment);
        let result = read();
        self.path.borrow_mut().truncate(length);
        result
    }
}

#[derive(Clone, Copy)]
struct Strict<'s> {
    state: &'s ParseState,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if is_past_64_bits(value) {
            let path = self.state.path.borrow().clone();
            self.state.vast.borrow_mut().push(path);
        }
        checked_float(value).map(Value::Number).map_err(|message| self.state.fail(message))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let item = self.state.inside(format_args!("[{}]", values.len()), || items.next_element_seed(self))?;
            match item {
                Some(item) => values.push(item),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut nulls: HashSet<String> = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = self.state.inside(format_args!(".{name}"), || {
                if name.is_empty() {
                    return Err(self.state.fail("an empty property name"));
                }
                if name.contains('.') {
                    return Err(self
                        .state
                        .fail("a property name with a `.`, which ClickHouse reads as a path; nest an object instead"));
                }
                if map.contains_key(&name) || nulls.contains(&name) {
                    return Err(self.state.fail("this property is given twice"));
                }
                entries.next_value_seed(self)
            })?;
            match value {
                Value::Null => {
                    nulls.insert(name);
                }
                value => {
                    map.insert(name, value);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(text: &str) -> (String, String) {
        let error = parse(text, "properties").unwrap_err();
        (error.path, error.message)
    }

    #[test]
    fn what_clickhouse_would_bend_is_refused_with_its_path() {
        assert_eq!(refused(r#"{"a":{"b":1,"b":2}}"#).0, "properties.a.b");
        assert_eq!(refused(r#"{"a":null,"a":2}"#).0, "properties.a");
        assert_eq!(refused(r#"{"a":[1,18446744073709551616]}"#).0, "properties.a[1]");
        assert_eq!(refused(r#"{"a":-18446744073709551617}"#).0, "properties.a");
        assert_eq!(refused(r#"{"a":1,"a.b":2}"#).0, "properties.a.b");
        assert_eq!(refused(r#"{"a":{"":2}}"#).0, "properties.a.");
    }

    #[test]
    fn a_float_may_be_as_large_as_a_float_can() {
        let text = r#"{"a":1e20,"b":[-1.5E300,{"c\\":18446744073709551616.0}],"\"1":"123456789012345678901234567890"}"#;
        let value = parse(text, "properties").unwrap();
        assert_eq!(
            value,
            json!({"a": 1e20, "b": [-1.5e300, {"c\\": 18446744073709551616.0}], "\"1": "123456789012345678901234567890"})
        );
        // The same number as an integer means its digits, wherever floats stand around it.
        assert_eq!(refused(r#"{"a":1e20,"b":[1E300,{"c":100000000000000000000}]}"#).0, "properties.b[1].c");
        assert_eq!(refused(r#"{"\"9e99":"\\","b":-99999999999999999999,"c":1e99}"#).0, "properties.b");
        assert!(refused(r#"{"a":1e400}"#).1.contains("number out of range"));
    }

    #[test]
    fn minus_zero_is_zero() {
        assert_eq!(parse("[-0, -0.0, 0.0]", "properties").unwrap(), json!([0, 0, 0]));
    }

    #[test]
    fn nulls_are_absent() {
        assert_eq!(parse(r#"{"a":null,"b":{"c":null}}"#, "properties").unwrap(), json!({"b": {}}));
    }

    #[test]
    fn what_is_not_json_names_the_root() {
        assert_eq!(refused(r#"{"a":1"#).0, "properties");
        assert_eq!(refused(r#"{"a":"\ud800"}"#).0, "properties");
        assert_eq!(refused("{} {}").0, "properties");
    }

    #[test]
    fn sixty_four_bits_fit() {
        let value = json!({"max": u64::MAX, "min": i64::MIN, "float": 1.5});
        assert_eq!(parse(&value.to_string(), "properties").unwrap(), value);
    }
}
