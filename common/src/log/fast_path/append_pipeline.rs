//! A connection that only appends. The requests of many callers wait in one queue. All that is in the queue when the
//! connection can be written to goes out together, and the replies come back in the same order.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_core::position::Position;
use redis::{ErrorKind, RedisError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::connection::{RawConnection, Stream};
use super::reply::{ReplyToken, ReplyTokens, server_error};
use crate::log::error::{AppendError, LogError, refused, stream_gone};
use crate::log::link::{HOLD_OFF, Link, RESPONSE_TIMEOUT};
use crate::log::value::position_text;

/// The most requests in the queue; further callers wait before it.
const QUEUE: usize = 256;
/// Nothing more is taken from the queue while this many bytes are not sent.
const MOST_UNSENT: usize = 1 << 20;
/// Room for replies.
const INPUT: usize = 16 * 1024;
/// How often the age of the oldest request is checked.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// The outcome of each event of a request.
pub(in crate::log) type AppendOutcomes = Vec<Result<Position, AppendError>>;

/// A connection that is made again after it was lost.
pub(in crate::log) struct AppendPipeline {
    link: Link,
    current: Mutex<Current>,
}

/// The queue of the current connection, or how the last attempt to connect failed.
#[derive(Default)]
struct Current {
    queue: Option<mpsc::Sender<AppendRequest>>,
    failed: Option<(Instant, String)>,
}

struct AppendRequest {
    commands: Vec<u8>,
    count: usize,
    answer: oneshot::Sender<AppendOutcomes>,
}

impl AppendPipeline {
    /// Connects.
    pub(in crate::log) async fn open(link: Link) -> Result<Self, LogError> {
        let current = Current { queue: Some(start(connect(&link).await?.into_stream())), failed: None };
        Ok(Self { link, current: Mutex::new(current) })
    }

    /// Sends `count` `XADD`s and returns the outcome of each.
    pub(in crate::log) async fn send(&self, commands: Vec<u8>, count: usize) -> AppendOutcomes {
        let (answer, answered) = oneshot::channel();
        let sent = match self.queue().await {
            Ok(queue) => queue.send(AppendRequest { commands, count, answer }).await.map_err(|_| lost()),
            Err(error) => Err(error),
        };
        if let Err(reason) = sent {
            return vec![Err(AppendError::Unavailable(reason)); count];
        }
        // A request that was taken from the queue is answered. One that was still in it when the connection ended was not
        // sent.
        answered.await.unwrap_or_else(|_| vec![Err(AppendError::Unavailable(lost())); count])
    }

    async fn queue(&self) -> Result<mpsc::Sender<AppendRequest>, String> {
        let mut current = self.current.lock().await;
        if let Some(queue) = current.queue.as_ref().filter(|queue| !queue.is_closed()) {
            return Ok(queue.clone());
        }
        if let Some((_, reason)) = current.failed.as_ref().filter(|(when, _)| when.elapsed() < HOLD_OFF) {
            return Err(reason.clone());
        }
        match connect(&self.link).await {
            Ok(connection) => {
                let queue = start(connection.into_stream());
                *current = Current { queue: Some(queue.clone()), failed: None };
                Ok(queue)
            }
            Err(error) => {
                current.failed = Some((Instant::now(), error.to_string()));
                Err(error.to_string())
            }
        }
    }
}

async fn connect(link: &Link) -> Result<RawConnection, LogError> {
    let unknown = || RedisError::from((ErrorKind::InvalidClientConfig, "appending needs a TCP or Unix address"));
    let connection = link.connect_raw().await?;
    connection.ok_or_else(|| LogError::Redis { doing: "connect to the log", source: unknown() })
}

fn lost() -> String {
    "the connection was lost".to_owned()
}

/// Starts the task of a connection. It ends with the connection, or when all senders are gone.
fn start(stream: Box<dyn Stream>) -> mpsc::Sender<AppendRequest> {
    let (queue, waiting) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut unanswered = UnansweredRequests::default();
        let ended = unanswered.run(stream, waiting).await;
        unanswered.end(&ended.err().map_or_else(lost, |error| error.to_string()));
    });
    queue
}

/// The requests that were taken from the queue and have not been answered in full.
#[derive(Default)]
struct UnansweredRequests {
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    in_flight: VecDeque<UnansweredRequest>,
}

struct UnansweredRequest {
    count: usize,
    since: Instant,
    outcomes: AppendOutcomes,
    answer: oneshot::Sender<AppendOutcomes>,
}

impl UnansweredRequests {
    async fn run(
        &mut self,
        stream: Box<dyn Stream>,
        mut waiting: mpsc::Receiver<AppendRequest>,
    ) -> std::io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut check = tokio::time::interval(CHECK_EVERY);
        self.input.reserve(INPUT);
        loop {
            tokio::select! {
                read = reader.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                    self.answered()?;
                }
                request = waiting.recv(), if self.output.len() < MOST_UNSENT => {
                    let Some(request) = request else { return Ok(()) };
                    self.take(request);
                    while self.output.len() < MOST_UNSENT && let Ok(request) = waiting.try_recv() {
                        self.take(request);
                    }
                }
                written = writer.write(&self.output[self.written..]), if !self.output.is_empty() => {
                    self.sent(written?)?;
                }
                _ = check.tick() => self.check_age()?,
            }
        }
    }

    fn take(&mut self, request: AppendRequest) {
        let AppendRequest { commands, count, answer } = request;
        if self.output.is_empty() {
            self.output = commands;
        } else {
            self.output.extend_from_slice(&commands);
        }
        let outcomes = Vec::with_capacity(count);
        self.in_flight.push_back(UnansweredRequest { count, since: Instant::now(), outcomes, answer });
    }

    fn sent(&mut self, bytes: usize) -> std::io::Result<()> {
        if bytes == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.written += bytes;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Hands out the replies that are whole.
    fn answered(&mut self) -> std::io::Result<()> {
        let mut tokens = ReplyTokens::new(&self.input);
        while let Some(token) = tokens.next() {
            let outcome = outcome(token)?;
            let unasked = || std::io::Error::new(std::io::ErrorKind::InvalidData, "a reply without a request");
            let oldest = self.in_flight.front_mut().ok_or_else(unasked)?;
            oldest.outcomes.push(outcome);
            if oldest.outcomes.len() == oldest.count
                && let Some(done) = self.in_flight.pop_front()
            {
                // The caller may have gone away meanwhile.
                let _ = done.answer.send(done.outcomes);
            }
        }
        let consumed = tokens.at();
        self.input.drain(..consumed);
        Ok(())
    }

    /// Gives up a connection whose oldest request has waited for too long.
    fn check_age(&self) -> std::io::Result<()> {
        match self.in_flight.front() {
            Some(oldest) if oldest.since.elapsed() > RESPONSE_TIMEOUT => Err(std::io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// Answers the requests without a reply: their events may be in the log.
    fn end(self, reason: &str) {
        for mut request in self.in_flight {
            request.outcomes.resize(request.count, Err(AppendError::Unknown(reason.to_owned())));
            let _ = request.answer.send(request.outcomes);
        }
    }
}

fn outcome(token: ReplyToken<'_>) -> std::io::Result<Result<Position, AppendError>> {
    let unexpected = || std::io::Error::new(std::io::ErrorKind::InvalidData, "expected a reply to XADD");
    match token {
        ReplyToken::Bulk(Some(id)) => position_text(id).map(Ok).ok_or_else(unexpected),
        ReplyToken::Bulk(None) => Ok(Err(stream_gone())),
        ReplyToken::Error(line) => Ok(Err(refused(&server_error(line)))),
        ReplyToken::Array(_) | ReplyToken::Line(_) | ReplyToken::Garbage => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    async fn send(
        queue: &mpsc::Sender<AppendRequest>,
        commands: &str,
        count: usize,
    ) -> oneshot::Receiver<AppendOutcomes> {
        let (answer, answered) = oneshot::channel();
        queue.send(AppendRequest { commands: commands.into(), count, answer }).await.unwrap();
        answered
    }

    async fn expect(far: &mut DuplexStream, wanted: &str) {
        let mut bytes = vec![0; wanted.len()];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    }

    #[tokio::test]
    async fn each_request_has_its_own_replies_however_they_are_cut() {
        for cut in [1, 7, 1_000] {
            let (near, mut far) = duplex(cut);
            let queue = start(Box::new(near));
            let one = send(&queue, "first", 2).await;
            let two = send(&queue, "second", 2).await;
            expect(&mut far, "firstsecond").await;
            far.write_all(b"$3\r\n7-0\r\n-OOM full\r\n$-1\r\n$4\r\n7-12\r\n").await.unwrap();
            let (seventh, twelfth) = (Position::new(7, 0), Position::new(7, 12));
            assert_eq!(one.await.unwrap(), [Ok(seventh), Err(AppendError::Pressure)]);
            assert_eq!(two.await.unwrap(), [Err(stream_gone()), Ok(twelfth)]);
        }
    }

    #[tokio::test]
    async fn an_event_sent_on_a_connection_that_ended_may_be_in_the_log() {
        let (near, mut far) = duplex(1_000);
        let queue = start(Box::new(near));
        let answered = send(&queue, "sent", 2).await;
        expect(&mut far, "sent").await;
        far.write_all(b"$3\r\n7-0\r\n$3\r\n8-").await.unwrap();
        drop(far);
        let outcomes = answered.await.unwrap();
        assert_eq!(outcomes[0], Ok(Position::new(7, 0)));
        assert!(matches!(&outcomes[1], Err(AppendError::Unknown(_))), "{outcomes:?}");
        queue.closed().await;
    }

    #[tokio::test]
    async fn a_reply_of_another_kind_ends_the_connection() {
        let (near, mut far) = duplex(1_000);
        let queue = start(Box::new(near));
        let answered = send(&queue, "sent", 1).await;
        expect(&mut far, "sent").await;
        far.write_all(b":7\r\n").await.unwrap();
        assert!(matches!(&answered.await.unwrap()[..], [Err(AppendError::Unknown(_))]));
        queue.closed().await;
    }

    #[test]
    fn a_silent_connection_is_given_up() {
        let mut unanswered = UnansweredRequests::default();
        assert!(unanswered.check_age().is_ok());
        let asked = |since| UnansweredRequest { count: 1, since, outcomes: Vec::new(), answer: oneshot::channel().0 };
        unanswered.in_flight.push_back(asked(Instant::now()));
        assert!(unanswered.check_age().is_ok());
        unanswered.in_flight.push_front(asked(Instant::now().checked_sub(2 * RESPONSE_TIMEOUT).unwrap()));
        assert!(unanswered.check_age().is_err());
    }
}
