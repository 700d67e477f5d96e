//! `GET /v1/entities`: finds entities by their values in a MongoDB view, page by page.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Definitions, Store, View};
use millrace_core::key::KeyText;

use super::counted;
use crate::catalog::store_name;
use crate::error::{RequestError, list};
use crate::fast_path::json::{JsonResult, JsonWriter};
use crate::filter;
use crate::json_body::written;
use crate::repository::{EntityPage, EntitySearch};
use crate::server::FeatureServer;

/// Entities of a page unless the request sets a limit.
const LIMIT: u16 = 100;
/// The most conditions of one request.
const MOST_CONDITIONS: usize = 16;

/// Pairs, because `where` may come several times.
type Pairs = Vec<(String, String)>;

/// The parameters of a request, before they are checked.
#[derive(Default)]
struct SearchParameters {
    view: Option<String>,
    version: Option<String>,
    conditions: Vec<String>,
    features: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn find(
    State(server): State<Arc<FeatureServer>>,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Response {
    counted(&server.endpoints.entities, read(&server, query)).await
}

async fn read(server: &FeatureServer, query: Result<Query<Pairs>, QueryRejection>) -> Result<Response, RequestError> {
    let Query(pairs) = query.map_err(|rejection| RequestError::invalid("query", rejection.body_text()))?;
    let search = SearchParameters::read(pairs)?.search(server)?;
    let _permit = server.search_permits.try_acquire().map_err(|_| RequestError::Busy)?;
    let begun = std::time::Instant::now();
    let page = server.repository.search(&search).await;
    server.endpoints.entities.record_read(begun.elapsed());
    let page = page.map_err(|reason| RequestError::Unavailable(format!("mongodb: {reason}")))?;
    written(json(&search, &page))
}

impl SearchParameters {
    fn read(pairs: Pairs) -> Result<Self, RequestError> {
        let mut parameters = Self::default();
        for (name, value) in pairs {
            let place = match name.as_str() {
                "where" => {
                    parameters.conditions.push(value);
                    continue;
                }
                "view" => &mut parameters.view,
                "version" => &mut parameters.version,
                "features" => &mut parameters.features,
                "limit" => &mut parameters.limit,
                "cursor" => &mut parameters.cursor,
                _ => {
                    let known = "view, version, where, features, limit, cursor";
                    return Err(RequestError::invalid("query", format!("no parameter `{name}`; there is {known}")));
                }
            };
            if place.replace(value).is_some() {
                return Err(RequestError::invalid(name, "given twice; only `where` may be repeated"));
            }
        }
        Ok(parameters)
    }

    fn search(self, server: &FeatureServer) -> Result<EntitySearch, RequestError> {
        let definitions = server.served()?.definitions.clone();
        let index = self.view(&definitions)?;
        let view = &definitions.views[index];
        if self.conditions.len() > MOST_CONDITIONS {
            let error = format!("{} conditions; the most is {MOST_CONDITIONS}", self.conditions.len());
            return Err(RequestError::invalid("where", error));
        }
        let conditions = self.conditions.iter().map(|text| filter::condition(view, text)).collect::<Result<_, _>>()?;
        let features = self.features(view)?;
        let limit = self.limit(server.limits.max_keys)?;
        let values = features.len() * usize::from(limit);
        if values > server.limits.max_values {
            let most = server.limits.max_values;
            return Err(RequestError::invalid("limit", format!("{values} values in one page; the most is {most}")));
        }
        let after = match &self.cursor {
            None => None,
            Some(key) if definitions.entities[view.entity].is_canonical(key) => Some(KeyText::from_canonical(key)),
            Some(_) => return Err(RequestError::invalid("cursor", "expected the `next` of the page before")),
        };
        let budget = server.budgets.search;
        Ok(EntitySearch { view: index, conditions, features, after, limit, budget, definitions })
    }

    fn view(&self, definitions: &Definitions) -> Result<usize, RequestError> {
        let in_mongodb = || {
            let views = definitions.views.iter().filter(|view| view.store == Store::MongoDb);
            list(views.map(View::id))
        };
        let Some(name) = &self.view else {
            return Err(RequestError::invalid("view", format!("name a view in mongodb; there is {}", in_mongodb())));
        };
        let version = match self.version.as_deref().map(str::parse::<u32>) {
            None => 1,
            Some(Ok(version)) => version,
            Some(Err(_)) => return Err(RequestError::invalid("version", "expected a whole number")),
        };
        match definitions.view(name, Some(version)) {
            Some((index, view)) if view.store == Store::MongoDb => Ok(index),
            Some((_, view)) => {
                let (id, store) = (view.id(), store_name(view.store));
                let error = format!(
                    "`{id}` is in {store}, and only views in mongodb can be searched; there is {}",
                    in_mongodb()
                );
                Err(RequestError::invalid("view", error))
            }
            None => {
                let error = format!("no view `{name}@{version}`; in mongodb there is {}", in_mongodb());
                Err(RequestError::unknown("view", error))
            }
        }
    }

    /// The features, by their own names or by references.
    fn features(&self, view: &View) -> Result<Vec<usize>, RequestError> {
        let mut features = Vec::new();
        for name in self.features.iter().flat_map(|names| names.split(',')).map(str::trim) {
            let of_reference = || (0..view.features.len()).find(|index| view.reference(*index) == name);
            let Some(feature) = view.feature(name).or_else(of_reference) else {
                let known = list(view.features.iter().map(|feature| feature.name.as_str()));
                let error = format!("no feature `{name}` in view `{}`; there is {known}", view.id());
                return Err(RequestError::unknown("features", error));
            };
            if !features.contains(&feature) {
                features.push(feature);
            }
        }
        Ok(features)
    }

    fn limit(&self, most: usize) -> Result<u16, RequestError> {
        let most = u16::try_from(most).unwrap_or(u16::MAX - 1);
        match self.limit.as_deref().map(str::parse::<u16>) {
            None => Ok(LIMIT.min(most)),
            Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => Err(RequestError::invalid("limit", format!("expected a whole number from 1 to {most}"))),
        }
    }
}

fn json(search: &EntitySearch, page: &EntityPage) -> Result<Vec<u8>, serde_json::Error> {
    let view = search.view();
    let entity = &search.definitions.entities[view.entity];
    let one = |json: &mut JsonWriter, key: &KeyText, values: &[FeatureValue]| -> JsonResult {
        json.object(|json| {
            json.name("key").key(entity, key)?;
            if search.features.is_empty() {
                return Ok(());
            }
            json.name("values").object(|json| {
                let values = search.features.iter().zip(values);
                values.into_iter().try_for_each(|(index, value)| json.name(&view.reference(*index)).value(&value.value))
            })
        })
    };
    let mut json = JsonWriter::default();
    json.object(|json| {
        json.name("view").plain(&view.name);
        json.name("version").value(&view.version)?;
        json.name("entities").list(|json| page.entities.iter().try_for_each(|(key, values)| one(json, key, values)))?;
        json.name("next").value(&page.next.as_ref().map(KeyText::as_str))
    })?;
    Ok(json.finish())
}
