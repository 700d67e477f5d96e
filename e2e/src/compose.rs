//! The variables of `docker-compose.yml`: which there are, and the text with their values in place. Compose knows more
//! forms; these are the ones that the file uses.

use std::collections::BTreeMap;

/// The file.
pub const COMPOSE: &str = include_str!("../../docker-compose.yml");

/// Every variable of `text` with its default, empty for one that must be given.
pub fn variables(text: &str) -> BTreeMap<String, String> {
    text.split("${").skip(1).map(variable).map(|(name, default, _)| (name.into(), default.into())).collect()
}

/// `text` with what `value` makes of each variable's name and default in its place.
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

/// Name, default and what follows, of what stands behind `${`.
fn variable(part: &str) -> (&str, &str, &str) {
    let (inner, rest) = part.split_once('}').expect("a variable ends with }");
    if let Some((name, default)) = inner.split_once(":-") {
        return (name, default, rest);
    }
    let (name, _complaint) = inner.split_once(":?").expect("a variable has a default (:-) or must be given (:?)");
    (name, "", rest)
}
