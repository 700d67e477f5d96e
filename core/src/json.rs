//! JSON as strictly as the warehouse needs it: what ClickHouse's `JSON` column would refuse or bend is refused here,
//! with its path. Nulls are dropped, because a null property is the same as an absent one.

pub mod tape;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is wrong with a JSON text, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct InvalidJson {
    /// Dotted path from the given root; the root itself where the text is not JSON at all.
    pub path: String,
    /// The reason.
    pub message: String,
}

/// Integers at least this large do not fit 64 bits; a parser makes floats of them.
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

/// Parses one JSON text; `root` names it in errors (`properties`).
pub fn parse(text: &str, root: &str) -> Result<Value, InvalidJson> {
    let state = State { path: RefCell::new(root.to_owned()), error: RefCell::default(), vast: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = Strict { state: &state }.deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        let bent = vast_numbers(text).zip(state.vast.take()).find(|(number, _)| is_integer(number));
        match bent {
            None => Ok(value),
            Some((_, path)) => {
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

/// Whether the text of a number is that of an integer: its digits are meant, and a float would lose some.
fn is_integer(text: &str) -> bool {
    !text.contains(['.', 'e', 'E'])
}

/// The texts of numbers at least as large as 2^64, in a text that is JSON.
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
    numbers.filter(|number| number.parse().is_ok_and(|value: f64| value.abs() >= TWO_POW_64))
}

/// A float as a number that the warehouse holds, or why not.
fn checked_float(value: f64) -> Result<Number, &'static str> {
    // `-0` comes as a float, and would be written as one; an integer that says so is zero.
    if value == 0.0 {
        return Ok(0.into());
    }
    Number::from_f64(value).ok_or("not a finite number")
}

struct State {
    path: RefCell<String>,
    error: RefCell<Option<InvalidJson>>,
    /// Paths of the numbers past 64 bits, in the order of the text: whether they are floats only their texts say.
    vast: RefCell<Vec<String>>,
}

impl State {
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
    state: &'s State,
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
        if value.abs() >= TWO_POW_64 {
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
