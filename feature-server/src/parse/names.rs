//! Finds features by their names alone, in APIs whose requests name no entity: the features tell which entity is meant. A
//! name is `view:feature`, `view@2:feature`, or `feature` alone where only one view has a feature of that name.

use millrace_core::definitions::Definitions;

use super::reference;
use crate::error::{RequestError, list};

/// The entity that the features describe, and the (view, feature) indices of each name.
pub(crate) fn resolve_names(
    definitions: &Definitions,
    names: &[impl AsRef<str>],
) -> Result<(usize, Vec<(usize, usize)>), RequestError> {
    let features = names.iter().map(|name| feature(definitions, name.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let entity = |(view, _): &(usize, usize)| definitions.views[*view].entity;
    let first = features.first().map(entity);
    let first = first.ok_or_else(|| RequestError::invalid("feature_names", "name at least one feature"))?;
    let Some(other) = features.iter().position(|feature| entity(feature) != first) else {
        return Ok((first, features));
    };
    let describes = |at: usize| {
        let entity = &definitions.entities[entity(&features[at])].name;
        format!("`{}` describes {entity}", names[at].as_ref())
    };
    let error = format!("{}, {}; ask for one entity at a time", describes(0), describes(other));
    Err(RequestError::invalid("feature_names", error))
}

fn feature(definitions: &Definitions, name: &str) -> Result<(usize, usize), RequestError> {
    if name.contains(':') {
        return reference::feature(definitions, None, "feature_names", name);
    }
    let views = definitions.views.iter().enumerate().filter(|(_, view)| view.version == 1);
    let found: Vec<_> = views.filter_map(|(index, view)| Some((index, view.feature(name)?))).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => reference::feature(definitions, None, "feature_names", name),
        several => {
            let candidates = list(several.iter().map(|(view, feature)| definitions.views[*view].reference(*feature)));
            let error = format!("`{name}` may be any of {candidates}; name its view");
            Err(RequestError::invalid("feature_names", error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::DefinitionsSource;

    const YAML: &str = r#"
entities:
  item: { key: item_id, type: int64 }
  user: { key: user_id, type: string }
events:
  click: { partition_by: user, entities: [user, item] }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: n, agg: count }, { name: mine, agg: count }] }
  - { name: clicks, version: 2, entity: user, from: [click], features: [{ name: mine, agg: count }, { name: new, agg: count }] }
  - { name: seen, entity: item, from: [click], features: [{ name: n, agg: count }, { name: its, agg: count }] }
"#;

    fn resolved(names: &[&str]) -> Result<(usize, Vec<(usize, usize)>), RequestError> {
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        resolve_names(&Definitions::compile(source).unwrap(), names)
    }

    #[test]
    fn a_name_alone_means_the_one_first_version_that_has_it() {
        assert_eq!(resolved(&["mine", "clicks:n", "clicks@2:mine"]).unwrap(), (1, vec![(0, 1), (0, 0), (1, 0)]));
        assert_eq!(resolved(&["its"]).unwrap(), (0, vec![(2, 1)]));
    }

    #[test]
    fn an_ambiguous_name_lists_its_meanings() {
        let expected = RequestError::invalid("feature_names", "`n` may be any of clicks:n, seen:n; name its view");
        assert_eq!(resolved(&["n"]).unwrap_err(), expected);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for (name, error) in [
            ("new", "`new` is not a feature; write `view:feature` or `view@2:feature`"),
            ("click:n", "no view `click`; there is clicks@1, clicks@2, seen@1"),
            ("clicks@2:n", "no feature `n` in view `clicks@2`; there is mine, new"),
        ] {
            assert_eq!(resolved(&[name]).unwrap_err(), RequestError::unknown("feature_names", error));
        }
    }

    #[test]
    fn one_request_is_about_one_entity() {
        let error = "`mine` describes user, `its` describes item; ask for one entity at a time";
        assert_eq!(resolved(&["mine", "its"]).unwrap_err(), RequestError::invalid("feature_names", error));
        assert_eq!(resolved(&[]).unwrap_err(), RequestError::invalid("feature_names", "name at least one feature"));
    }
}
