//! Lists of feature names, for doors whose requests name no entity: references, or bare names where one view alone has
//! such a feature. The entity follows from the features.

use millrace_core::definitions::Definitions;

use crate::error::RequestError;

/// Resolves names to the index of their one entity and (view, feature) indices, in order.
pub fn resolve(
    definitions: &Definitions,
    names: &[impl AsRef<str>],
) -> Result<(usize, Vec<(usize, usize)>), RequestError> {
    let features = names.iter().map(|name| feature(definitions, name.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let entity_of = |(view, _): &(usize, usize)| definitions.views[*view].entity;
    let Some(entity) = features.first().map(entity_of) else {
        return Err(RequestError::invalid("features", "name at least one feature"));
    };
    if let Some(other) = features.iter().position(|feature| entity_of(feature) != entity) {
        let (first, theirs) = (names[0].as_ref(), names[other].as_ref());
        let error = format!(
            "one request's features describe one entity: `{first}` describes {}, `{theirs}` describes {}",
            definitions.entities[entity].name,
            definitions.entities[entity_of(&features[other])].name,
        );
        return Err(RequestError::invalid("features", error));
    }
    Ok((entity, features))
}

fn feature(definitions: &Definitions, name: &str) -> Result<(usize, usize), RequestError> {
    if name.contains(':') {
        let unknown = || RequestError::unknown("features", format!("no feature `{name}`; the catalogue lists them"));
        return definitions.feature(name).ok_or_else(unknown);
    }
    // A bare name means version 1, as everywhere.
    let views = definitions.views.iter().enumerate().filter(|(_, view)| view.version == 1);
    let found: Vec<_> = views.filter_map(|(index, view)| Some((index, view.feature(name)?))).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let error = format!("no feature `{name}`; write `view:feature`, or a name that one view alone has");
            Err(RequestError::unknown("features", error))
        }
        several => {
            let references: Vec<_> =
                several.iter().map(|(view, feature)| definitions.views[*view].reference(*feature)).collect();
            let error = format!("several views have a feature `{name}`; write one of {}", references.join(", "));
            Err(RequestError::invalid("features", error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::DefinitionsSource;

    const YAML: &str = r#"
entities: { item: { key: item_id, type: string }, user: { key: user_id, type: string } }
events: { click: { partition_by: user, entities: [item] } }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: n, agg: count }, { name: m, agg: count }] }
  - { name: clicks, version: 2, entity: user, from: [click], features: [{ name: m, agg: count }] }
  - { name: items, entity: item, from: [click], features: [{ name: n, agg: count }, { name: seen, agg: count }] }
"#;

    fn of(names: &[&str]) -> Result<(usize, Vec<(usize, usize)>), String> {
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        resolve(&Definitions::compile(source).unwrap(), names).map_err(|error| error.to_string())
    }

    #[test]
    fn the_entity_follows_from_the_features() {
        assert_eq!(of(&["clicks:n", "clicks@2:m"]), Ok((1, vec![(0, 0), (1, 0)])));
        assert_eq!(of(&["items:n"]), Ok((0, vec![(2, 0)])));
        let error = of(&["clicks:n", "seen"]).unwrap_err();
        assert!(error.contains("`clicks:n` describes user, `seen` describes item"), "{error}");
        assert!(of(&[]).unwrap_err().contains("at least one"));
    }

    #[test]
    fn a_bare_name_is_taken_where_it_means_one_feature() {
        assert_eq!(of(&["m"]), Ok((1, vec![(0, 1)])), "version 1 is meant");
        assert!(of(&["n"]).unwrap_err().ends_with("write one of clicks:n, items:n"));
        assert!(of(&["o"]).unwrap_err().starts_with("no feature `o`"));
        assert!(of(&["clicks:o"]).unwrap_err().starts_with("no feature `clicks:o`"));
    }
}
