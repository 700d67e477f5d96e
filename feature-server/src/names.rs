//! Features by their names alone, as the doors take them that name no entity: it follows from the features. A name is
//! `view:feature`, `view@2:feature`, or `feature` where that can only mean one.

use std::sync::Arc;

use millrace_core::definitions::Definitions;

use crate::ask::{self, list};
use crate::error::RequestError;
use crate::repository::Plan;
use crate::state::{Serving, Shared};

/// A plan, and where each name of the list that asked for it stands in its answers.
pub struct Named {
    /// Answers each feature once.
    pub plan: Arc<Plan>,
    /// For each name its feature's place in the plan.
    pub places: Vec<usize>,
}

/// The plan of a list of names, compiled when it is first asked for.
pub fn plan(shared: &Shared, serving: &Serving, names: &[String]) -> Result<Arc<Named>, RequestError> {
    if let Some(named) = serving.named.get(names) {
        return Ok(named);
    }
    let most = shared.limits.max_features;
    if names.len() > most {
        return Err(ask::too_many_features("feature_names", most));
    }
    let (entity, features) = resolve(&serving.definitions, names)?;
    let plan = Plan::new(serving.definitions.clone(), &serving.names, serving.partitions, entity, &features);
    let place = |feature| plan.features.iter().position(|other| other == feature);
    let places = features.iter().filter_map(place).collect();
    let named = Arc::new(Named { places, plan: Arc::new(plan) });
    serving.named.insert(names.to_vec(), named.clone());
    Ok(named)
}

/// The entity that some features describe, and (view, feature) of each.
pub fn resolve(
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
        return definitions.feature(name).ok_or_else(|| ask::unknown_feature(definitions, None, "feature_names", name));
    }
    let views = definitions.views.iter().enumerate().filter(|(_, view)| view.version == 1);
    let found: Vec<_> = views.filter_map(|(index, view)| Some((index, view.feature(name)?))).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(ask::unknown_feature(definitions, None, "feature_names", name)),
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
        resolve(&Definitions::compile(source).unwrap(), names)
    }

    #[test]
    fn a_name_alone_means_the_one_first_version_that_has_it() {
        assert_eq!(resolved(&["mine", "clicks:n", "clicks@2:mine"]).unwrap(), (1, vec![(0, 1), (0, 0), (1, 0)]));
        assert_eq!(resolved(&["its"]).unwrap(), (0, vec![(2, 1)]));
    }

    #[test]
    fn a_name_that_may_mean_several_lists_them() {
        let expected = RequestError::invalid("feature_names", "`n` may be any of clicks:n, seen:n; name its view");
        assert_eq!(resolved(&["n"]).unwrap_err(), expected);
    }

    #[test]
    fn unknown_names_say_what_there_is() {
        for (name, error) in [
            ("new", "`new` is no feature; write `view:feature` or `view@2:feature`"),
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
