//! The HTTP API of ingest: `POST /v1/events` (object, array, NDJSON, CloudEvents) and `POST /event` (flat form). Checking and
//! appending events is left to `admit`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, post};
use millrace_common::body;
use millrace_core::event::{EventForm, Rejected};
use serde::Serialize;
use serde_json::json;

use crate::admit::{self, Accepted, CheckedEvents, RequestContext};
use crate::cloudevents::CloudEventsMode;
use crate::error::RequestError;
use crate::service::IngestService;
use crate::split::{self, BodyForm};

/// The longest header that is read. An idempotency key and an index together must fit an event id.
const MAX_HEADER_BYTES: usize = 200;

/// The routes that take events.
pub fn routes(service: Arc<IngestService>) -> Router {
    Router::new().route("/v1/events", post(events)).route("/event", post(flat_event)).with_state(service)
}

/// Answers requests that match no route, or no method of their route, with a JSON error.
pub fn with_fallbacks(routes: Router) -> Router {
    routes
        .method_not_allowed_fallback(|| async {
            RequestError::Route(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method")
        })
        .fallback(|| async {
            RequestError::Route(
                StatusCode::NOT_FOUND,
                "this route does not exist; send events to POST /v1/events or /event",
            )
        })
}

async fn events(
    State(service): State<Arc<IngestService>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RequestError> {
    take(&service, &headers, body, EventForm::Nested).await
}

async fn flat_event(
    State(service): State<Arc<IngestService>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RequestError> {
    take(&service, &headers, body, EventForm::Flat).await
}

async fn take(
    service: &IngestService,
    headers: &HeaderMap,
    body: Body,
    form: EventForm,
) -> Result<Response, RequestError> {
    let _permit = service.permits.try_acquire().map_err(|_| RequestError::Busy)?;
    let body = body::read(body, service.max_body, service.body_timeout).await?;
    let described = DescribedRequest::read(headers, form)?;
    let text = split::text(&body, described.has_lines)?;
    let log = service.open_log()?;
    let (body_form, checked) = admit::check(&log.definitions, &described.context, &text, described.body_form)?;
    if form == EventForm::Flat && body_form != BodyForm::One {
        return Err(RequestError::Unparsable("POST /event takes one event; send many to /v1/events".into()));
    }
    let CheckedEvents { valid, rejected } = checked;
    let accepted = admit::append(&log, valid).await.inspect_err(|_| service.counters.refused.increment(1))?;
    service.counters.accepted.increment(accepted.len() as u64);
    service.counters.rejected.increment(rejected.len() as u64);
    answer(body_form, accepted, rejected, described.context.cloudevents)
}

/// The parts of a request's headers that describe its body.
struct DescribedRequest<'h> {
    context: RequestContext<'h>,
    /// The form of the body, when the headers declare it.
    body_form: Option<BodyForm>,
    /// Whether the body is lines of text, each of which can be refused alone.
    has_lines: bool,
}

impl<'h> DescribedRequest<'h> {
    fn read(headers: &'h HeaderMap, form: EventForm) -> Result<Self, RequestError> {
        if let Some(encoding) = header_text(headers, header::CONTENT_ENCODING.as_str())?
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(RequestError::Encoded(encoding.to_owned()));
        }
        let content_type = header_text(headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
        let cloudevents = CloudEventsMode::of(content_type, headers)?;
        if form == EventForm::Flat && cloudevents.is_some() {
            return Err(RequestError::Unparsable("POST /event takes no CloudEvents; send them to /v1/events".into()));
        }
        let has_lines = content_type.contains("ndjson") || content_type.contains("jsonl");
        let body_form = cloudevents.map(CloudEventsMode::body_form).or(has_lines.then_some(BodyForm::Lines));
        let context = RequestContext {
            idempotency_key: header_text(headers, "idempotency-key")?.map(str::to_owned),
            // A trace that cannot be read does not cost the event.
            traceparent: header_text(headers, "traceparent").ok().flatten().map(str::to_owned),
            form,
            cloudevents,
        };
        Ok(Self { context, body_form, has_lines })
    }
}

/// The answer to a request with one event.
#[derive(Serialize)]
struct OneAccepted {
    event_id: String,
    id: String,
    partition: u16,
    status: &'static str,
}

fn answer(
    form: BodyForm,
    mut accepted: Vec<(usize, Accepted)>,
    mut rejected: Vec<(usize, Rejected)>,
    cloudevents: Option<CloudEventsMode<'_>>,
) -> Result<Response, RequestError> {
    if form == BodyForm::One {
        if let Some((_, rejected)) = rejected.pop() {
            return Err(RequestError::Rejected(rejected));
        }
        if let Some((_, accepted)) = accepted.pop() {
            return Ok(one_answer(accepted));
        }
    }
    Ok(batch_answer(&accepted, rejected, cloudevents))
}

fn one_answer(accepted: Accepted) -> Response {
    let id = accepted.position.to_string();
    let body = OneAccepted { event_id: accepted.event_id, id, partition: accepted.partition.0, status: "accepted" };
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

fn batch_answer(
    accepted: &[(usize, Accepted)],
    rejected: Vec<(usize, Rejected)>,
    cloudevents: Option<CloudEventsMode<'_>>,
) -> Response {
    let empty = accepted.is_empty() && rejected.is_empty();
    // The CloudEvents format allows an empty batch. Elsewhere an empty request is a mistake of the sender.
    let failed = accepted.is_empty() && !(empty && cloudevents.is_some());
    let rejected: Vec<_> = rejected
        .into_iter()
        .map(|(index, rejected)| json!({ "index": index, "field": rejected.field, "error": rejected.reason }))
        .collect();
    let mut body = json!({ "accepted": accepted.len(), "rejected": rejected });
    if failed {
        let error = if empty { "the request has no event" } else { "no event of this request is valid" };
        body["error"] = error.into();
    }
    let status = if failed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::ACCEPTED };
    (status, Json(body)).into_response()
}

/// A header's text; None when it is empty or absent.
fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, RequestError> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= MAX_HEADER_BYTES => Ok(Some(text)),
        _ => {
            Err(RequestError::Unparsable(format!("the header `{name}` is not 1 to {MAX_HEADER_BYTES} bytes of ASCII")))
        }
    }
}
