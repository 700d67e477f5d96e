//! A connection that only appends. Requests of many callers wait in one line: what is there when the connection can
//! be written to goes out together, and the answers come back in the same order. The driver would build each command
//! three times over and a value for each answer.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_core::position::Position;
use redis::{ErrorKind, RedisError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::{AppendError, refused, stream_gone};
use crate::log::error::LogError;
use crate::log::link::{HOLD_OFF, Link, RESPONSE_TIMEOUT};
use crate::log::value::position_text;
use crate::log::wire::{Stream, Token, Tokens, Wire, server_error};

/// Requests that may wait in line; more wait before it.
const LINE: usize = 256;
/// Past so many bytes not yet sent, nothing more is taken from the line.
const MOST_UNSENT: usize = 1 << 20;
/// Room for answers.
const INPUT: usize = 16 * 1024;
/// How often silence is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What each event of a request became.
pub(super) type Outcomes = Vec<Result<Position, AppendError>>;

/// A lane, made again after it was lost.
pub(super) struct Lane {
    link: Link,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    line: Option<mpsc::Sender<Request>>,
    failed: Option<(Instant, String)>,
}

struct Request {
    commands: Vec<u8>,
    count: usize,
    answer: oneshot::Sender<Outcomes>,
}

impl Lane {
    /// Connects.
    pub(super) async fn open(link: Link) -> Result<Self, LogError> {
        let slot = Slot { line: Some(start(connect(&link).await?.into_stream())), failed: None };
        Ok(Self { link, slot: Mutex::new(slot) })
    }

    /// Sends so many `XADD`s and answers for each.
    pub(super) async fn send(&self, commands: Vec<u8>, count: usize) -> Outcomes {
        let (answer, answered) = oneshot::channel();
        let sent = match self.line().await {
            Ok(line) => line.send(Request { commands, count, answer }).await.map_err(|_| lost()),
            Err(error) => Err(error),
        };
        if let Err(reason) = sent {
            return vec![Err(AppendError::Away(reason)); count];
        }
        // Whatever was taken from the line is answered; what was still in it when the connection ended was not sent.
        answered.await.unwrap_or_else(|_| vec![Err(AppendError::Away(lost())); count])
    }

    async fn line(&self) -> Result<mpsc::Sender<Request>, String> {
        let mut slot = self.slot.lock().await;
        if let Some(line) = slot.line.as_ref().filter(|line| !line.is_closed()) {
            return Ok(line.clone());
        }
        if let Some((_, reason)) = slot.failed.as_ref().filter(|(when, _)| when.elapsed() < HOLD_OFF) {
            return Err(reason.clone());
        }
        match connect(&self.link).await {
            Ok(wire) => {
                let line = start(wire.into_stream());
                *slot = Slot { line: Some(line.clone()), failed: None };
                Ok(line)
            }
            Err(error) => {
                slot.failed = Some((Instant::now(), error.to_string()));
                Err(error.to_string())
            }
        }
    }
}

async fn connect(link: &Link) -> Result<Wire, LogError> {
    let unknown = || RedisError::from((ErrorKind::InvalidClientConfig, "appending needs a TCP or Unix address"));
    let wire = link.connect_wire().await?;
    wire.ok_or_else(|| LogError::Redis { doing: "connect to the log", source: unknown() })
}

fn lost() -> String {
    "the connection was lost".to_owned()
}

/// Starts the lane's task, which ends with the connection or when nobody can send any more.
fn start(stream: Box<dyn Stream>) -> mpsc::Sender<Request> {
    let (line, waiting) = mpsc::channel(LINE);
    tokio::spawn(async move {
        let mut running = Running::default();
        let ended = running.run(stream, waiting).await;
        running.end(&ended.err().map_or_else(lost, |error| error.to_string()));
    });
    line
}

/// What has been taken from the line and not been answered in full.
#[derive(Default)]
struct Running {
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    in_flight: VecDeque<InFlight>,
}

struct InFlight {
    count: usize,
    since: Instant,
    outcomes: Outcomes,
    answer: oneshot::Sender<Outcomes>,
}

impl Running {
    async fn run(&mut self, stream: Box<dyn Stream>, mut waiting: mpsc::Receiver<Request>) -> std::io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut look = tokio::time::interval(LOOK_EVERY);
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
                _ = look.tick() => self.silence()?,
            }
        }
    }

    fn take(&mut self, request: Request) {
        let Request { commands, count, answer } = request;
        if self.output.is_empty() {
            self.output = commands;
        } else {
            self.output.extend_from_slice(&commands);
        }
        let outcomes = Vec::with_capacity(count);
        self.in_flight.push_back(InFlight { count, since: Instant::now(), outcomes, answer });
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

    /// Hands out the answers that are whole.
    fn answered(&mut self) -> std::io::Result<()> {
        let mut tokens = Tokens::new(&self.input);
        while let Some(token) = tokens.next() {
            let outcome = outcome(token)?;
            let unasked = || std::io::Error::new(std::io::ErrorKind::InvalidData, "an answer nobody waits for");
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

    /// Gives up a connection that has been silent for too long.
    fn silence(&self) -> std::io::Result<()> {
        match self.in_flight.front() {
            Some(oldest) if oldest.since.elapsed() > RESPONSE_TIMEOUT => Err(std::io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// What has no answer yet may be in the log.
    fn end(self, reason: &str) {
        for mut request in self.in_flight {
            request.outcomes.resize(request.count, Err(AppendError::Unknown(reason.to_owned())));
            let _ = request.answer.send(request.outcomes);
        }
    }
}

fn outcome(token: Token<'_>) -> std::io::Result<Result<Position, AppendError>> {
    let unexpected = || std::io::Error::new(std::io::ErrorKind::InvalidData, "no answer to XADD");
    match token {
        Token::Bulk(Some(id)) => position_text(id).map(Ok).ok_or_else(unexpected),
        Token::Bulk(None) => Ok(Err(stream_gone())),
        Token::Error(line) => Ok(Err(refused(&server_error(line)))),
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    async fn send(line: &mpsc::Sender<Request>, commands: &str, count: usize) -> oneshot::Receiver<Outcomes> {
        let (answer, answered) = oneshot::channel();
        line.send(Request { commands: commands.into(), count, answer }).await.unwrap();
        answered
    }

    async fn expect(far: &mut DuplexStream, wanted: &str) {
        let mut bytes = vec![0; wanted.len()];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    }

    #[tokio::test]
    async fn each_request_has_its_own_answers_however_they_are_cut() {
        for cut in [1, 7, 1_000] {
            let (near, mut far) = duplex(cut);
            let line = start(Box::new(near));
            let one = send(&line, "first", 2).await;
            let two = send(&line, "second", 2).await;
            expect(&mut far, "firstsecond").await;
            far.write_all(b"$3\r\n7-0\r\n-OOM full\r\n$-1\r\n$4\r\n7-12\r\n").await.unwrap();
            let (seventh, twelfth) = (Position::new(7, 0), Position::new(7, 12));
            assert_eq!(one.await.unwrap(), [Ok(seventh), Err(AppendError::Pressure)]);
            assert_eq!(two.await.unwrap(), [Err(stream_gone()), Ok(twelfth)]);
        }
    }

    #[tokio::test]
    async fn what_was_sent_on_a_connection_that_ended_may_be_in_the_log() {
        let (near, mut far) = duplex(1_000);
        let line = start(Box::new(near));
        let answered = send(&line, "sent", 2).await;
        expect(&mut far, "sent").await;
        far.write_all(b"$3\r\n7-0\r\n$3\r\n8-").await.unwrap();
        drop(far);
        let outcomes = answered.await.unwrap();
        assert_eq!(outcomes[0], Ok(Position::new(7, 0)));
        assert!(matches!(&outcomes[1], Err(AppendError::Unknown(_))), "{outcomes:?}");
        line.closed().await;
    }

    #[tokio::test]
    async fn an_answer_that_is_none_ends_the_connection() {
        let (near, mut far) = duplex(1_000);
        let line = start(Box::new(near));
        let answered = send(&line, "sent", 1).await;
        expect(&mut far, "sent").await;
        far.write_all(b":7\r\n").await.unwrap();
        assert!(matches!(&answered.await.unwrap()[..], [Err(AppendError::Unknown(_))]));
        line.closed().await;
    }

    #[test]
    fn a_silent_connection_is_given_up() {
        let mut running = Running::default();
        assert!(running.silence().is_ok());
        let asked = |since| InFlight { count: 1, since, outcomes: Vec::new(), answer: oneshot::channel().0 };
        running.in_flight.push_back(asked(Instant::now()));
        assert!(running.silence().is_ok());
        running.in_flight.push_front(asked(Instant::now().checked_sub(2 * RESPONSE_TIMEOUT).unwrap()));
        assert!(running.silence().is_err());
    }
}
