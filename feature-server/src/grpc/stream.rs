//! `StreamFeatures`: rows of millions of keys, some hundred at a time. A part is only begun when the connection takes
//! one, so HTTP/2's flow control reaches the stores; a client that goes away takes the work with it.

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
use super::message::Written;
use super::rows::Answered;
use crate::doors::{Call, Outcome};
use crate::error::RequestError;
use crate::repository::{self, Plan};
use crate::state::Shared;

/// Keys of one part: enough to hide a store's round trip, and few enough that others get their turn.
const PART_KEYS: usize = 500;
/// Values of one part, whatever its keys: bounds what it takes to read them.
const PART_VALUES: usize = 20_000;
/// Parts that are read while one is sent.
const AHEAD: usize = 2;

/// Held by a stream for as long as it lives.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

/// How many streams there may be.
#[derive(Clone)]
pub(super) struct Permits {
    shared: Arc<Shared>,
    streams: Arc<Semaphore>,
}

impl Permits {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { streams: Arc::new(Semaphore::new(shared.limits.max_streams)), shared }
    }
}

/// Lets a call through with its permit, before its body is read: the bodies are what takes the memory.
pub(super) async fn admit(State(permits): State<Permits>, mut request: Request, next: Next) -> Response {
    match permits.streams.clone().try_acquire_owned() {
        Ok(permit) => {
            request.extensions_mut().insert::<Permit>(Arc::new(permit));
            next.run(request).await
        }
        Err(_) => {
            permits.shared.doors.grpc_stream.call().ended(Outcome::Unavailable);
            Status::from(RequestError::Busy).into_http()
        }
    }
}

/// What all parts of a stream have in common.
pub(super) struct Rows {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Arc<Plan>,
    pub(super) as_of: Option<i64>,
    pub(super) metadata: bool,
    pub(super) deadline: Deadline,
    pub(super) closing: CancellationToken,
    /// Given back when the last part is gone.
    pub(super) _permit: Option<Permit>,
}

impl Rows {
    /// The rows of these keys, in order. An error ends the stream.
    pub(super) fn of(self, keys: Vec<KeyText>, call: Call) -> Messages {
        let of_part = (PART_VALUES / self.plan.features.len().max(1)).clamp(1, PART_KEYS);
        let of_part = of_part.min(self.shared.limits.max_values / self.plan.features.len().max(1)).max(1);
        let rows = Arc::new(self);
        let mut keys = keys.into_iter();
        let parts = std::iter::from_fn(move || {
            let part: Vec<KeyText> = keys.by_ref().take(of_part).collect();
            (!part.is_empty()).then_some(part)
        });
        // A task of its own: a part in hand is read to its end, and gives its permit back, though nobody takes it yet.
        let read = move |(number, keys)| {
            let rows = rows.clone();
            let part = tokio::spawn(async move { rows.part(number == 0, keys).await });
            AbortOnDropHandle::new(part).map(|part| part.unwrap_or_else(|_| Err(call::failed())))
        };
        let messages = |part: Result<Vec<Written>, Status>| {
            stream::iter(part.map_or_else(|status| vec![Err(status)], |all| all.into_iter().map(Ok).collect()))
        };
        let parts = stream::iter(parts.enumerate()).map(read).buffered(AHEAD).flat_map(messages).boxed();
        stream::unfold((parts, call), counted).boxed()
    }

    async fn part(&self, first: bool, keys: Vec<KeyText>) -> Result<Vec<Written>, Status> {
        if self.closing.is_cancelled() {
            return Err(Status::unavailable("the server is stopping; ask again for the rows that are missing"));
        }
        let request = repository::Request::new(self.plan.clone(), keys, self.as_of);
        let asked = repository::Request { patient: true, ..self.deadline.on(request)? };
        let answer = self.shared.read_in_turn(&self.shared.doors.grpc_stream, &asked).await?;
        // A part that the deadline has cut short would only be rows of errors.
        self.deadline.left()?;
        Ok(Answered { asked: &asked, answer: &answer, metadata: self.metadata }.parts(first))
    }
}

type Message = Result<Written, Status>;
type Messages = BoxStream<'static, Message>;

/// The next message. A stream that is dropped before its end was cancelled.
async fn counted((mut messages, mut call): (Messages, Call)) -> Option<(Message, (Messages, Call))> {
    let message = messages.next().await;
    call.ends(match &message {
        None => Outcome::Ok,
        Some(Ok(_)) => Outcome::Cancelled,
        Some(Err(status)) => outcome(status.code()),
    });
    Some((message?, (messages, call)))
}
