//! The variables of `docker-compose.yml`: their names and defaults, and the text with values in their place. Only the
//! forms that the file uses are read: `${NAME:-default}` and `${NAME:?complaint}`.

use std::collections::BTreeMap;

/// The text of the file.
pub const COMPOSE: &str = include_str!("../../docker-compose.yml");

/// Every variable of `text` with its default. The default of a variable that must be given is empty.
pub fn variables(text: &str) -> BTreeMap<String, String> {
    text.split("${").skip(1).map(variable).map(|(name, default, _)| (name.into(), default.into())).collect()
}

/// `text` with each variable replaced by what `value` returns for its name and default.
pub fn interpolated(text: &str, value: impl Fn(&str, &str) -> String) -> String {
    let mut parts = text.split("${");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, default, rest) = variable(part);
        result.push_str(&value(name, default));
        result.push_str(rest);
    }
    result
}

/// Splits the text after `${` into the variable's name, its default, and the text after `}`.
fn variable(part: &str) -> (&str, &str, &str) {
    let (inner, rest) = part.split_once('}').expect("a variable ends with }");
    if let Some((name, default)) = inner.split_once(":-") {
        return (name, default, rest);
    }
    let (name, _complaint) = inner.split_once(":?").expect("a variable has a default (:-) or must be given (:?)");
    (name, "", rest)
}
