//! `StreamFeatures`: rows of millions of keys, some hundred at a time. A part is read only when the connection can take
//! more, so that HTTP/2's flow control also limits the load on the stores. When the client goes away, the work ends.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use millrace_core::key::KeyText;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::call::{self, Deadline, outcome};
use crate::endpoints::{Outcome, RequestGuard};
use crate::error::RequestError;
use crate::fast_path::features::FeatureMessages;
use crate::fast_path::protobuf::WrittenMessage;
use crate::repository::{FeatureRequest, Patience, Plan};
use crate::server::FeatureServer;

/// Keys of one part: enough to hide a store's round trip, and few enough that other requests get their turn.
const PART_KEYS: usize = 500;
/// Values of one part. They bound the memory of a part with many features.
const PART_VALUES: usize = 20_000;
/// Parts that are read while one is sent.
const AHEAD: usize = 2;

/// The permit of a stream, which it holds until it ends.
pub(super) type StreamPermit = Arc<OwnedSemaphorePermit>;

/// The permits of all streams.
#[derive(Clone)]
pub(super) struct StreamPermits {
    server: Arc<FeatureServer>,
    streams: Arc<Semaphore>,
}

impl StreamPermits {
    pub(super) fn new(server: Arc<FeatureServer>) -> Self {
        Self { streams: Arc::new(Semaphore::new(server.limits.max_streams)), server }
    }
}

/// Gives a call its permit, or refuses the call, before its body is read: the bodies take most of the memory.
pub(super) async fn admit(State(permits): State<StreamPermits>, mut request: Request, next: Next) -> Response {
    match permits.streams.clone().try_acquire_owned() {
        Ok(permit) => {
            request.extensions_mut().insert::<StreamPermit>(Arc::new(permit));
            next.run(request).await
        }
        Err(_) => {
            permits.server.endpoints.grpc_stream.begin().end(Outcome::Unavailable);
            Status::from(RequestError::Busy).into_http()
        }
    }
}

/// The rows of a stream: what all its parts have in common.
pub(super) struct RowStream {
    pub(super) server: Arc<FeatureServer>,
    pub(super) plan: Arc<Plan>,
    pub(super) as_of: Option<i64>,
    pub(super) metadata: bool,
    pub(super) deadline: Deadline,
    pub(super) closing: CancellationToken,
    /// Returned when the last part has gone out.
    pub(super) _permit: Option<StreamPermit>,
}

impl RowStream {
    /// Reads the rows of these keys, in order. An error ends the stream.
    pub(super) fn of(self, keys: Vec<KeyText>, call: RequestGuard) -> Messages {
        let of_part = (PART_VALUES / self.plan.features.len().max(1)).clamp(1, PART_KEYS);
        let of_part = of_part.min(self.server.limits.max_values / self.plan.features.len().max(1)).max(1);
        let rows = Arc::new(self);
        let mut keys = keys.into_iter();
        let parts = std::iter::from_fn(move || {
            let part: Vec<KeyText> = keys.by_ref().take(of_part).collect();
            (!part.is_empty()).then_some(part)
        });
        // Each part has its own task: it is read to its end, and returns its request permit, even if the client does not
        // take it yet.
        let read = move |(number, keys)| {
            let rows = rows.clone();
            let part = tokio::spawn(async move { rows.part(number == 0, keys).await });
            AbortOnDropHandle::new(part).map(|part| part.unwrap_or_else(|_| Err(call::failed())))
        };
        let messages = |part: Result<Vec<WrittenMessage>, Status>| {
            stream::iter(part.map_or_else(|status| vec![Err(status)], |all| all.into_iter().map(Ok).collect()))
        };
        let parts = stream::iter(parts.enumerate()).map(read).buffered(AHEAD).flat_map(messages).boxed();
        stream::unfold((parts, call), counted).boxed()
    }

    async fn part(&self, first: bool, keys: Vec<KeyText>) -> Result<Vec<WrittenMessage>, Status> {
        if self.closing.is_cancelled() {
            return Err(Status::unavailable("the server is stopping; ask again for the rows that are missing"));
        }
        let request = FeatureRequest::new(self.plan.clone(), keys, self.as_of);
        let asked = FeatureRequest { patience: Patience::Stream, ..self.deadline.on(request)? };
        let answer = self.server.read_in_turn(&self.server.endpoints.grpc_stream, &asked).await?;
        // A part that the deadline has cut short would consist of errors only.
        self.deadline.left()?;
        Ok(FeatureMessages { request: &asked, answer: &answer, metadata: self.metadata }.parts(first))
    }
}

type Message = Result<WrittenMessage, Status>;
type Messages = BoxStream<'static, Message>;

/// The next message, with the outcome that counts if the stream is dropped now: before its end it is cancelled.
async fn counted((mut messages, mut call): (Messages, RequestGuard)) -> Option<(Message, (Messages, RequestGuard))> {
    let message = messages.next().await;
    call.set_outcome(match &message {
        None => Outcome::Ok,
        Some(Ok(_)) => Outcome::Cancelled,
        Some(Err(status)) => outcome(status.code()),
    });
    Some((message?, (messages, call)))
}
