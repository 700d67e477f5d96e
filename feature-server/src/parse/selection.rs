//! The features that a request selects: those of a service, a list of references, or all that are streamed.

use millrace_core::definitions::{Definitions, Store};

use super::reference::{self, too_many_features};
use crate::error::{RequestError, list};

/// Which features a request selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection<'a> {
    /// All features of one version of a service: `fraud@2`.
    Service(&'a str),
    /// These features: `a:b,c:d`.
    Features(&'a str),
    /// All features that are streamed into Redis and MongoDB.
    Streamed,
    /// All streamed features, and these.
    StreamedAnd(&'a str),
}

impl<'a> Selection<'a> {
    /// Selects by a service or by features, of which at most one may be given.
    pub(crate) fn of(service: Option<&'a str>, features: Option<&'a str>) -> Result<Self, RequestError> {
        refuse_both(service.is_some(), features.is_some())?;
        Ok(match (service, features) {
            (Some(service), _) => Self::Service(service),
            (None, Some(features)) => Self::Features(features),
            (None, None) => Self::Streamed,
        })
    }

    /// The text under which the plan of this selection is cached.
    pub(crate) fn cache_key(&self, entity: usize) -> String {
        match self {
            Self::Service(service) => format!("{entity} s {service}"),
            Self::Features(features) => format!("{entity} f {features}"),
            Self::Streamed => format!("{entity} a"),
            Self::StreamedAnd(features) => format!("{entity} a {features}"),
        }
    }

    /// The (view, feature) indices that it selects of an entity.
    pub(crate) fn resolve(
        self,
        definitions: &Definitions,
        entity: usize,
        max_features: usize,
    ) -> Result<Vec<(usize, usize)>, RequestError> {
        match self {
            Self::Service(reference) => service(definitions, entity, reference),
            Self::Features(references) => features(definitions, entity, references, max_features),
            Self::Streamed => Ok(streamed(definitions, entity)),
            Self::StreamedAnd(references) => {
                let mut all = streamed(definitions, entity);
                all.extend(features(definitions, entity, references, max_features)?);
                Ok(all)
            }
        }
    }
}

/// Refuses a request that names both a service and features, before either is looked at.
pub(crate) fn refuse_both(service: bool, features: bool) -> Result<(), RequestError> {
    if service && features {
        return Err(RequestError::invalid("service", "name `service` or `features`, not both"));
    }
    Ok(())
}

fn streamed(definitions: &Definitions, entity: usize) -> Vec<(usize, usize)> {
    let views = definitions.views.iter().enumerate();
    let views = views.filter(|(_, view)| view.entity == entity && is_streamed(view.store));
    views.flat_map(|(index, view)| (0..view.features.len()).map(move |feature| (index, feature))).collect()
}

fn is_streamed(store: Store) -> bool {
    match store {
        Store::Redis | Store::MongoDb => true,
        Store::ClickHouse => false,
    }
}

fn service(definitions: &Definitions, entity: usize, reference: &str) -> Result<Vec<(usize, usize)>, RequestError> {
    let Some(service) = definitions.service(reference) else {
        let versions = definitions
            .services
            .iter()
            .flat_map(|service| service.versions.keys().map(|version| format!("{}@{version}", service.name)));
        let known = list(versions);
        return Err(RequestError::unknown("service", format!("no service `{reference}`; there is {known}")));
    };
    if service.entity != entity {
        let error = other_entity(definitions, &format!("service `{reference}`"), service.entity, entity);
        return Err(RequestError::invalid("service", error));
    }
    Ok(service.features.clone())
}

fn features(
    definitions: &Definitions,
    entity: usize,
    references: &str,
    max_features: usize,
) -> Result<Vec<(usize, usize)>, RequestError> {
    let mut found = Vec::new();
    for reference in references.split(',').map(str::trim) {
        let (view, feature) = reference::feature(definitions, Some(entity), "features", reference)?;
        let described = definitions.views[view].entity;
        if described != entity {
            let error = other_entity(definitions, &format!("feature `{reference}`"), described, entity);
            return Err(RequestError::invalid("features", error));
        }
        found.push((view, feature));
        if found.len() > max_features {
            return Err(too_many_features("features", max_features));
        }
    }
    Ok(found)
}

fn other_entity(definitions: &Definitions, subject: &str, described: usize, wanted: usize) -> String {
    let name = |entity: usize| &definitions.entities[entity].name;
    format!("{subject} describes {}, not {}", name(described), name(wanted))
}
