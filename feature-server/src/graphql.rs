//! The GraphQL API: the schema on `/graphql` and `/query`, and a playground for people. `limits` judges a document before
//! anything is done with it, and `batch` reads the stores once for all of its fields.

mod batch;
mod catalog;
mod completion;
mod error;
mod limits;
mod playground;
mod scalars;
mod schema;
mod values;

use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::{Request, Response as GraphqlAnswer, Variables};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};
use serde::Deserialize;
use serde_json::Value as Json;

use self::batch::Batch;
use self::error::{outcome, refusal, with_codes};
use self::limits::DocumentLimits;
use self::schema::{QueryScope, Schema};
use crate::error::RequestError;
use crate::json_body::{read_json, written};
use crate::server::FeatureServer;

struct GraphqlApi {
    server: Arc<FeatureServer>,
    schema: Schema,
}

/// The routes of the GraphQL API.
pub fn routes<S: Clone + Send + Sync + 'static>(server: Arc<FeatureServer>) -> Router<S> {
    let api = Arc::new(GraphqlApi { server, schema: schema::schema() });
    let query = get(by_url).post(by_body);
    Router::new().route("/graphql", query.clone()).route("/query", query).with_state(api).merge(playground::routes())
}

/// A request as a URL or a body has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GraphqlRequest<V> {
    query: String,
    operation_name: Option<String>,
    variables: Option<V>,
}

type UrlRequest = Result<Query<GraphqlRequest<String>>, QueryRejection>;

async fn by_url(State(api): State<Arc<GraphqlApi>>, request: UrlRequest) -> Response {
    let request = match request {
        Ok(Query(GraphqlRequest { query, operation_name, variables })) => {
            let variables = variables.map(|text| serde_json::from_str(&text)).transpose();
            let variables = variables.map_err(|error| RequestError::invalid("variables", error.to_string()));
            variables.map(|variables| GraphqlRequest { query, operation_name, variables })
        }
        Err(rejection) => Err(RequestError::invalid("query", rejection.body_text())),
    };
    api.answer(request).await
}

async fn by_body(State(api): State<Arc<GraphqlApi>>, body: Body) -> Response {
    let request = match read_json(body, &api.server.limits).await {
        Ok(Json::Array(_)) => Err(RequestError::invalid("body", "expected one request, not a list of them")),
        Ok(json) => serde_json::from_value(json).map_err(|error| RequestError::invalid("body", error.to_string())),
        Err(error) => Err(error),
    };
    api.answer(request).await
}

impl GraphqlApi {
    async fn answer(&self, request: Result<GraphqlRequest<Json>, RequestError>) -> Response {
        let in_progress = self.server.endpoints.graphql.begin();
        let answered = match request {
            Ok(request) => self.execute(request).await,
            Err(error) => Err(error),
        };
        let (response, outcome) = match answered {
            Ok(answer) => {
                let response = written(serde_json::to_vec(&answer)).into_response();
                let status = response.status();
                let outcome = if status.is_success() { outcome(&answer) } else { status.into() };
                (response, outcome)
            }
            // The request is not GraphQL yet, so the error has the form of the other APIs.
            Err(error) => {
                let response = error.into_response();
                let outcome = response.status().into();
                (response, outcome)
            }
        };
        in_progress.end(outcome);
        response
    }

    async fn execute(&self, request: GraphqlRequest<Json>) -> Result<GraphqlAnswer, RequestError> {
        let server = &self.server;
        let _permit = server.request_permits.try_acquire().map_err(|_| RequestError::Busy)?;
        let variables = match request.variables {
            None | Some(Json::Null) => Variables::default(),
            Some(variables @ Json::Object(_)) => Variables::from_json(variables),
            Some(_) => return Err(RequestError::invalid("variables", "expected an object, or nothing")),
        };
        let served = server.served()?;
        if let Err(error) = limits::check_text(&request.query) {
            return Ok(refusal(error));
        }
        let document = match parse_query(&request.query) {
            Ok(document) => document,
            Err(error) => return Ok(with_codes(GraphqlAnswer::from_errors(vec![error.into()]))),
        };
        let limits = DocumentLimits { depth: server.limits.max_depth, fields: server.limits.max_selected };
        if let Err(error) = limits::check(&document, limits) {
            return Ok(refusal(error));
        }
        let batch = Arc::new(Batch::new(server.limits.clone()));
        let scope = QueryScope { server: server.clone(), served, batch: batch.clone() };
        let names = completion::root_names(&document, request.operation_name.as_deref());
        let mut execution = Request::new(request.query).data(scope);
        execution.operation_name = request.operation_name;
        execution.variables = variables;
        execution.set_parsed_query(document);
        let answer = batch.run(server, server.deadline(), self.schema.execute(execution)).await;
        Ok(with_codes(completion::completed(answer, &names)))
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::SDLExportOptions;

    /// Clients generate code from this file.
    #[test]
    fn the_schema_in_the_docs_is_the_one_that_is_served() {
        let form = SDLExportOptions::new().prefer_single_line_descriptions().use_space_ident().indent_width(2);
        let served = super::schema::schema().sdl_with_options(form);
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.graphql");
        if std::fs::read_to_string(&file).unwrap_or_default() != served {
            std::fs::write(&file, &served).unwrap();
            panic!("docs/schema.graphql was stale and was written anew; look at the difference and commit it");
        }
    }
}
