//! Sending, against a fake ingest of twenty lines.

use std::path::Path;
use std::sync::Mutex;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use super::*;
use crate::replay::mapping::Mapping;
use crate::replay::plan::{Plan, Selection};
use crate::replay::tally::MappingTally;

/// Answers each request with `answer` of its number and events, and remembers all events.
#[derive(Clone)]
struct FakeIngest {
    seen: Arc<Mutex<Vec<Vec<Value>>>>,
    answer: fn(usize, &[Value]) -> Response,
}

async fn take(State(ingest): State<FakeIngest>, Json(events): Json<Vec<Value>>) -> Response {
    let mut seen = ingest.seen.lock().unwrap();
    seen.push(events);
    (ingest.answer)(seen.len(), &seen[seen.len() - 1])
}

fn accept(_: usize, events: &[Value]) -> Response {
    (StatusCode::ACCEPTED, Json(json!({"accepted": events.len(), "rejected": []}))).into_response()
}

/// 40 events of 5 households, a row each second.
fn planned() -> Vec<PlannedEvent> {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..40).map(|row| format!("{},{row}\n", row % 5)).collect();
    std::fs::write(folder.path().join("a.csv"), format!("household,n\n{rows}")).unwrap();
    let text = "
file: a.csv
event: e
time: time(int(n) * 1s)
keys:
  household_id: int(household)
properties:
  n: int(n)
";
    let mapping = Mapping::parse(text, Path::new("a.yaml"), folder.path()).unwrap();
    Plan::read(&[mapping], Selection::default()).unwrap().events
}

async fn replay(
    answer: fn(usize, &[Value]) -> Response,
    batch: usize,
    concurrency: usize,
) -> (Result<(), ReplayError>, Arc<Tally>, Vec<Vec<Value>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ingest = FakeIngest { seen: Arc::default(), answer };
    let app = Router::new().route("/v1/events", post(take)).with_state(ingest.clone());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let give_up_after = Duration::from_secs(10);
    let options = SendOptions { url, rate: None, batch, concurrency, give_up_after };
    let tally = Arc::new(Tally::default());
    let rejects = Arc::new(RejectLog::new(0, None, |_| ()).unwrap());
    let sent = send(planned(), &options, Arc::clone(&tally), rejects).await;
    server.abort();
    let seen = ingest.seen.lock().unwrap().clone();
    (sent, tally, seen)
}

fn numbers_of(seen: &[Vec<Value>], household: u64) -> Vec<u64> {
    let events = seen.iter().flatten().filter(|event| event["household_id"] == household);
    events.map(|event| event["properties"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn each_keys_events_arrive_in_order_at_any_concurrency() {
    let (sent, tally, seen) = replay(accept, 3, 4).await;
    sent.unwrap();
    assert_eq!((tally.settled(), tally.accepted(), tally.resent()), (40, 40, 0));
    for household in 0..5 {
        let expected: Vec<u64> = (0..40).filter(|n| n % 5 == household).collect();
        assert_eq!(numbers_of(&seen, household), expected);
    }
    assert!(seen.iter().all(|events| events.len() <= 3));
}

#[tokio::test]
async fn back_pressure_resends_only_what_was_not_accepted() {
    let (sent, tally, seen) = replay(
        |request, events| match request {
            1 => {
                let body = json!({"error": "the log is full", "accepted": [0, 1, 2]});
                (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], Json(body)).into_response()
            }
            _ => accept(request, events),
        },
        10,
        1,
    )
    .await;
    sent.unwrap();
    assert_eq!((tally.accepted(), tally.resent()), (40, 0));
    assert_eq!(seen[1], seen[0][3..]);
    assert_eq!(seen.iter().map(Vec::len).sum::<usize>(), 47);
}

#[tokio::test]
async fn a_reply_without_indexes_leaves_the_batch_in_doubt() {
    let (sent, tally, seen) = replay(
        |request, events| match request {
            2 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => accept(request, events),
        },
        10,
        1,
    )
    .await;
    sent.unwrap();
    assert_eq!((tally.settled(), tally.accepted(), tally.resent()), (40, 40, 10));
    assert_eq!(seen[2], seen[1], "the same ids");
}

#[tokio::test]
async fn rejected_events_are_counted_and_the_rest_goes_on() {
    let (sent, tally, _) = replay(
        |_, events| {
            let body =
                json!({"accepted": events.len() - 1, "rejected": [{"index": 0, "field": "time", "error": "no"}]});
            (StatusCode::ACCEPTED, Json(body)).into_response()
        },
        10,
        1,
    )
    .await;
    sent.unwrap();
    assert_eq!(tally.by_mapping()[&0], MappingTally { accepted: 36, rejected: 4 });
}

#[tokio::test]
async fn a_failure_that_a_retry_cannot_cure_ends_the_replay() {
    let (sent, _, seen) = replay(|_, _| (StatusCode::PAYLOAD_TOO_LARGE, "too large").into_response(), 10, 1).await;
    let message = sent.unwrap_err().to_string();
    assert!(message.contains("refused a batch: 413 too large"), "{message}");
    assert_eq!(seen.len(), 1);
}
