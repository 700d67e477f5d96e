//! Shared by all calls: the client's deadline, the codes of errors, and the metrics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use crate::endpoints::{Endpoint, Outcome};
use crate::error::RequestError;
use crate::repository::FeatureRequest;

/// The most of a client's time that is kept for the way back, so that values that were read in time also arrive in time.
const MARGIN: Duration = Duration::from_millis(10);

/// The moment at which the answer must leave: when the client stops waiting, less the way back. None where it waits for
/// as long as it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// Reads the header `grpc-timeout`. One that cannot be read is ignored, as other servers do.
    pub(super) fn of(metadata: &MetadataMap) -> Self {
        let timeout = metadata.get("grpc-timeout").and_then(|text| timeout(text.to_str().ok()?));
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout - (timeout / 10).min(MARGIN))))
    }

    /// The time that is left. An error where none is.
    pub(super) fn left(self) -> Result<Option<Duration>, Status> {
        let left = self.0.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) { Err(exceeded()) } else { Ok(left) }
    }

    /// Gives a request the time that is left.
    pub(super) fn on(self, request: FeatureRequest) -> Result<FeatureRequest, Status> {
        Ok(FeatureRequest { deadline: self.left()?, ..request })
    }

    /// Whether no time is left.
    pub(super) fn is_over(self) -> bool {
        self.left().is_err()
    }
}

/// The status of a call that is too late.
pub(super) fn exceeded() -> Status {
    Status::deadline_exceeded("the client's deadline is over")
}

/// Parses `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Answers a call and counts how it ends. The work is boxed because it is large, and each layer around it would copy it.
pub(super) async fn answered<T>(
    endpoint: &Arc<Endpoint>,
    work: BoxFuture<'_, Result<T, Status>>,
) -> Result<Response<T>, Status> {
    let request = endpoint.begin();
    let result = guarded(work).await;
    request.end(outcome(result.as_ref().map_or_else(Status::code, |_| Code::Ok)));
    result.map(Response::new)
}

/// Turns a panic into an error, so that it costs its own call and not all calls of its connection.
pub(super) async fn guarded<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|_| Err(failed()))
}

/// The status of a call that met a defect of the server.
pub(super) fn failed() -> Status {
    Status::internal("the server failed; its log says why")
}

/// The outcome of a call with this code.
pub(super) fn outcome(code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Ok,
        Code::InvalidArgument | Code::NotFound => Outcome::Refused,
        _ => Outcome::Unavailable,
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::Invalid { field, .. } => Self::invalid_argument(format!("{field}: {text}")),
            RequestError::Unknown { field, .. } => Self::not_found(format!("{field}: {text}")),
            RequestError::NoEntities => Self::invalid_argument(text),
            RequestError::NotFound(_) => Self::not_found(text),
            RequestError::Route(..) => Self::unimplemented(text),
            RequestError::TooLarge(_) | RequestError::Busy => Self::resource_exhausted(text),
            RequestError::Slow => Self::deadline_exceeded(text),
            RequestError::Unavailable(_) => Self::unavailable(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_at_most_eight_digits_and_a_unit() {
        for (text, ms) in
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("40m", 40), ("5000u", 5), ("6000000n", 6)]
        {
            assert_eq!(timeout(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "m", "1", "-1S", "+1S", "123456789n", "1s", "1µ"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }

    #[test]
    fn some_of_the_clients_time_is_kept_for_the_way_back() {
        let left = |timeout: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", timeout.parse().unwrap());
            Deadline::of(&metadata).left()
        };
        assert!(left("100S").unwrap().unwrap() <= Duration::from_millis(99_990));
        assert!(left("20m").unwrap().unwrap() <= Duration::from_millis(18));
        assert_eq!(left("0n").unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(left("soon").unwrap(), None);
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_call() {
        let failed =
            answered::<()>(&crate::endpoints::Endpoints::new().grpc_get, async { panic!("a defect") }.boxed()).await;
        assert_eq!(failed.unwrap_err().code(), Code::Internal);
    }

    #[test]
    fn errors_have_the_code_that_tells_a_client_what_to_do() {
        for (error, code) in [
            (RequestError::invalid("key", "x"), Code::InvalidArgument),
            (RequestError::unknown("entity", "x"), Code::NotFound),
            (RequestError::NotFound("household".into()), Code::NotFound),
            (RequestError::Busy, Code::ResourceExhausted),
            (RequestError::Unavailable("x".into()), Code::Unavailable),
        ] {
            assert_eq!(Status::from(error).code(), code);
        }
    }
}
