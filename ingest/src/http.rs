//! The routes of ingest: `POST /v1/events` (object, array, NDJSON, CloudEvents) and `POST /event` (flat).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, post};
use millrace_core::event::{EventReader, Rejected};
use serde::Serialize;
use serde_json::json;

use crate::admit::{Accepted, Form, RequestContext, append, split, text, validate};
use crate::cloudevents::Mode;
use crate::error::RequestError;
use crate::state::{Ready, Shared};
use millrace_common::body;

/// The longest header that is looked at: an idempotency key and an index make an event id.
const MAX_HEADER_BYTES: usize = 200;

/// The routes that take events.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new().route("/v1/events", post(events)).route("/event", post(flat_event)).with_state(shared)
}

/// Answers in words what no route, or no method of one, takes.
pub fn with_fallbacks(routes: Router) -> Router {
    routes
        .method_not_allowed_fallback(|| async {
            RequestError::Route(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method")
        })
        .fallback(|| async {
            RequestError::Route(StatusCode::NOT_FOUND, "there is no such route; events go to POST /v1/events or /event")
        })
}

async fn events(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Response, RequestError> {
    take(&shared, &headers, body, false).await
}

async fn flat_event(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RequestError> {
    take(&shared, &headers, body, true).await
}

async fn take(shared: &Shared, headers: &HeaderMap, body: Body, flat: bool) -> Result<Response, RequestError> {
    let _permit = shared.permits.try_acquire().map_err(|_| RequestError::Busy)?;
    let body = body::read(body, shared.max_body, shared.body_timeout).await?;
    if let Some(encoding) = header_text(headers, header::CONTENT_ENCODING.as_str())?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(RequestError::Encoded(encoding.to_owned()));
    }
    let content_type = header_text(headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    let cloudevents = Mode::of(content_type, headers)?;
    if flat && cloudevents.is_some() {
        return Err(RequestError::Unparsable("POST /event takes no CloudEvents; send them to /v1/events".into()));
    }
    let ndjson = content_type.contains("ndjson") || content_type.contains("jsonl");
    let form = cloudevents.map(Mode::form).or(ndjson.then_some(Form::Lines));
    let text = &*text(&body, ndjson)?;
    let context = RequestContext {
        idempotency_key: header_text(headers, "idempotency-key")?.map(str::to_owned),
        // A trace that cannot be read is nobody's reason to lose an event.
        traceparent: header_text(headers, "traceparent").ok().flatten().map(str::to_owned),
        flat,
        cloudevents,
    };
    let ready = shared.ready()?;
    let (form, items) = split(text, form)?;
    if flat && form != Form::One {
        return Err(RequestError::Unparsable("POST /event takes one event; send many to /v1/events".into()));
    }
    let admitted = admit(&ready, &context, &items).await.inspect_err(|_| shared.counters.refused.increment(1))?;
    shared.counters.accepted.increment(admitted.accepted.len() as u64);
    shared.counters.rejected.increment(admitted.rejected.len() as u64);
    answer(form, admitted, context.cloudevents)
}

struct Admitted {
    accepted: Vec<(usize, Accepted)>,
    rejected: Vec<(usize, Rejected)>,
}

async fn admit(ready: &Ready, context: &RequestContext<'_>, items: &[&str]) -> Result<Admitted, RequestError> {
    let mut rejected = Vec::new();
    let (mut indexes, mut valid) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    let mut reader = EventReader::new(&ready.definitions, context.flat);
    for (index, item) in items.iter().enumerate() {
        match validate(&mut reader, context, index, item) {
            Ok(event) => {
                indexes.push(index);
                valid.push(event);
            }
            Err(reason) => rejected.push((index, reason)),
        }
    }
    drop(reader);
    let outcomes = append(&ready.appender, ready.partitions, valid).await;
    let mut accepted = Vec::with_capacity(outcomes.len());
    let mut failure = None;
    for (index, outcome) in indexes.into_iter().zip(outcomes) {
        match outcome {
            Ok(entry) => accepted.push((index, entry)),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        None => Ok(Admitted { accepted, rejected }),
        Some(error) => {
            let accepted = accepted.into_iter().map(|(index, _)| index).collect();
            Err(RequestError::Unavailable { reason: error.to_string(), accepted })
        }
    }
}

/// What the sender of one event is told.
#[derive(Serialize)]
struct OneAccepted {
    event_id: String,
    id: String,
    partition: u16,
    status: &'static str,
}

fn answer(form: Form, admitted: Admitted, cloudevents: Option<Mode>) -> Result<Response, RequestError> {
    let Admitted { mut accepted, mut rejected } = admitted;
    if form == Form::One {
        if let Some((_, rejected)) = rejected.pop() {
            return Err(RequestError::Rejected(rejected));
        }
        if let Some((_, entry)) = accepted.pop() {
            let id = entry.position.to_string();
            let body = OneAccepted { event_id: entry.event_id, id, partition: entry.partition.0, status: "accepted" };
            return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
        }
    }
    // A batch of CloudEvents may be empty, says their format; of ours, that is a sender's mistake.
    let none = accepted.is_empty() && (cloudevents.is_none() || !rejected.is_empty());
    let rejected: Vec<_> = rejected
        .into_iter()
        .map(|(index, rejected)| json!({ "index": index, "field": rejected.field, "error": rejected.reason }))
        .collect();
    let status = if none { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::ACCEPTED };
    let mut body = json!({ "accepted": accepted.len(), "rejected": rejected });
    if none {
        let empty = body["rejected"] == json!([]);
        body["error"] =
            if empty { "there is no event in this request" } else { "no event of this request is valid" }.into();
    }
    Ok((status, Json(body)).into_response())
}

/// A header's text, none where it is empty or not there.
fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, RequestError> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= MAX_HEADER_BYTES => Ok(Some(text)),
        _ => {
            Err(RequestError::Unparsable(format!("the header `{name}` is not 1 to {MAX_HEADER_BYTES} bytes of ASCII")))
        }
    }
}
