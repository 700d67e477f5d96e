//! The GraphQL door: the schema on `/graphql` and `/query`, and a playground for people. A document is judged by
//! `limits` before anything is done with it; `batch` reads the stores once for all of its fields.

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
use async_graphql::{Request, Response as Answer, Variables};
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
use self::schema::{Schema, Scope};
use crate::doors::Outcome;
use crate::error::RequestError;
use crate::http::{json_body, written};
use crate::state::Shared;

struct Door {
    shared: Arc<Shared>,
    schema: Schema,
}

/// The routes of the door.
pub fn routes<S: Clone + Send + Sync + 'static>(shared: Arc<Shared>) -> Router<S> {
    let door = Arc::new(Door { shared, schema: schema::schema() });
    let query = get(by_url).post(by_body);
    Router::new().route("/graphql", query.clone()).route("/query", query).with_state(door).merge(playground::routes())
}

/// A request as it comes in a URL or a body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked<V> {
    query: String,
    operation_name: Option<String>,
    variables: Option<V>,
}

async fn by_url(State(door): State<Arc<Door>>, asked: Result<Query<Asked<String>>, QueryRejection>) -> Response {
    let asked = match asked {
        Ok(Query(Asked { query, operation_name, variables })) => {
            let variables = variables.map(|text| serde_json::from_str(&text)).transpose();
            let variables = variables.map_err(|error| RequestError::invalid("variables", error.to_string()));
            variables.map(|variables| Asked { query, operation_name, variables })
        }
        Err(rejection) => Err(RequestError::invalid("query", rejection.body_text())),
    };
    door.answer(asked).await
}

async fn by_body(State(door): State<Arc<Door>>, body: Body) -> Response {
    let asked = match json_body(body, &door.shared.limits).await {
        Ok(Json::Array(_)) => Err(RequestError::invalid("body", "expected one request, not a list of them")),
        Ok(json) => serde_json::from_value(json).map_err(|error| RequestError::invalid("body", error.to_string())),
        Err(error) => Err(error),
    };
    door.answer(asked).await
}

impl Door {
    async fn answer(&self, asked: Result<Asked<Json>, RequestError>) -> Response {
        let call = self.shared.doors.graphql.call();
        let answered = match asked {
            Ok(asked) => self.execute(asked).await,
            Err(error) => Err(error),
        };
        let (response, outcome) = match answered {
            Ok(answer) => {
                let response = written(serde_json::to_vec(&answer)).into_response();
                let status = response.status();
                let outcome = if status.is_success() { outcome(&answer) } else { Outcome::of(status) };
                (response, outcome)
            }
            // No GraphQL was spoken yet: the form of all other doors.
            Err(error) => {
                let response = error.into_response();
                let outcome = Outcome::of(response.status());
                (response, outcome)
            }
        };
        call.ended(outcome);
        response
    }

    async fn execute(&self, asked: Asked<Json>) -> Result<Answer, RequestError> {
        let shared = &self.shared;
        let _permit = shared.permits.try_acquire().map_err(|_| RequestError::Busy)?;
        let variables = match asked.variables {
            None | Some(Json::Null) => Variables::default(),
            Some(variables @ Json::Object(_)) => Variables::from_json(variables),
            Some(_) => return Err(RequestError::invalid("variables", "expected an object, or none")),
        };
        let serving = shared.serving()?;
        if let Err(error) = limits::check_text(&asked.query) {
            return Ok(refusal(error));
        }
        let document = match parse_query(&asked.query) {
            Ok(document) => document,
            Err(error) => return Ok(with_codes(Answer::from_errors(vec![error.into()]))),
        };
        let limits = DocumentLimits { depth: shared.limits.max_depth, fields: shared.limits.max_selected };
        if let Err(error) = limits::check(&document, limits) {
            return Ok(refusal(error));
        }
        let batch = Arc::new(Batch::new(shared.limits.clone()));
        let scope = Scope { shared: shared.clone(), serving, batch: batch.clone() };
        let names = completion::root_names(&document, asked.operation_name.as_deref());
        let mut request = Request::new(asked.query).data(scope);
        request.operation_name = asked.operation_name;
        request.variables = variables;
        request.set_parsed_query(document);
        let deadline = shared.deadline();
        let answer = batch.run(shared, deadline, self.schema.execute(request)).await;
        Ok(with_codes(completion::completed(answer, &names)))
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::SDLExportOptions;

    /// Clients generate code from it.
    #[test]
    fn the_schema_in_the_docs_is_the_one_that_is_served() {
        let form = SDLExportOptions::new().prefer_single_line_descriptions().use_space_ident().indent_width(2);
        let served = super::schema::schema().sdl_with_options(form);
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.graphql");
        if std::fs::read_to_string(&file).unwrap_or_default() != served {
            std::fs::write(&file, &served).unwrap();
            panic!("docs/schema.graphql was stale and is written anew: look at the difference and commit it");
        }
    }
}
