//! Appending events: one pipeline of `XADD`s per batch on a few shared connections. Each event has its own answer,
//! which tells apart what was refused, what was never sent, and what may or may not be in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use redis::{Cmd, Pipeline, Value};

use super::error::LogError;
use super::link::{Link, spoils};
use super::memory::{Gauge, Pressure};
use super::{Log, value};

/// Above this part of `maxmemory` events are refused: the rest is for the backlog's own state.
pub const DEFAULT_REFUSE_ABOVE: f64 = 0.85;

/// Why an event is not in the log, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Not appended: the log's memory is filling up. Later it has room again.
    #[error("the log is under memory pressure")]
    Pressure,
    /// Not appended: the log was not reached, or refused.
    #[error("the log is away: {0}")]
    Away(String),
    /// Sent, and no answer came: it may be in the log. Sending it again with the same id is safe.
    #[error("the log did not answer: {0}")]
    Unknown(String),
}

/// Appends events. Cloning it is cheap and shares the connections.
#[derive(Clone)]
pub struct Appender(Arc<Shared>);

struct Shared {
    links: Vec<Link>,
    next: AtomicUsize,
    /// Stream key per partition.
    streams: Vec<String>,
    gauge: Gauge,
    refuse_above: f64,
}

impl Appender {
    /// Appends over so many connections (at least one); calls take turns. Refuses above
    /// [`DEFAULT_REFUSE_ABOVE`] of `maxmemory`.
    pub async fn open(log: &Log, connections: usize) -> Result<Self, LogError> {
        Self::open_refusing_above(log, connections, DEFAULT_REFUSE_ABOVE).await
    }

    /// The same with another bound, as a part of `maxmemory`.
    pub async fn open_refusing_above(log: &Log, connections: usize, refuse_above: f64) -> Result<Self, LogError> {
        let links: Vec<Link> = (0..connections.max(1)).map(|_| log.link_ref().another()).collect();
        for link in &links {
            link.get().await?;
        }
        let streams = log.partitions().map(|partition| log.names().events(partition)).collect();
        let gauge = Gauge::start(log.link_ref().another()).await?;
        Ok(Self(Arc::new(Shared { links, next: AtomicUsize::new(0), streams, gauge, refuse_above })))
    }

    /// The log's memory as last looked at.
    pub fn pressure(&self) -> Pressure {
        self.0.gauge.pressure()
    }

    /// Whether events are refused now.
    pub fn is_refusing(&self) -> bool {
        self.pressure().ratio() > self.0.refuse_above
    }

    /// Appends the events in order and answers for each, in order. `Ok` means that Redis has it.
    pub async fn append_batch(&self, events: &[(Partition, &Event)]) -> Vec<Result<Position, AppendError>> {
        if events.is_empty() {
            return Vec::new();
        }
        if self.is_refusing() {
            return vec![Err(AppendError::Pressure); events.len()];
        }
        let mut pipeline = Pipeline::with_capacity(events.len());
        for (partition, event) in events {
            match self.0.streams.get(usize::from(partition.0)) {
                Some(stream) => pipeline.add_command(xadd(stream, event)),
                None => {
                    return vec![Err(AppendError::Away(format!("there is no partition {partition}"))); events.len()];
                }
            };
        }
        self.send(&pipeline, events.len()).await
    }

    async fn send(&self, pipeline: &Pipeline, count: usize) -> Vec<Result<Position, AppendError>> {
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        let link = &self.0.links[turn % self.0.links.len()];
        let (number, mut connection) = match link.get().await {
            Ok(connection) => connection,
            Err(error) => return vec![Err(AppendError::Away(error.to_string())); count],
        };
        // Not `query_async`, which would answer one refused event with an error for all.
        match connection.send_packed_commands(pipeline, 0, count).await {
            Ok(replies) if replies.len() == count => replies.into_iter().map(answer).collect(),
            Ok(replies) => vec![Err(AppendError::Unknown(format!("{} answers for {count}", replies.len()))); count],
            Err(error) => {
                if spoils(&error) {
                    link.forget(number).await;
                }
                vec![Err(AppendError::Unknown(error.to_string())); count]
            }
        }
    }
}

/// `NOMKSTREAM`: a stream that `migrate` did not make has no groups, and must not come into being by accident.
fn xadd(stream: &str, event: &Event) -> Cmd {
    let fields = event.fields();
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    let mut command = Cmd::with_capacity(4 + fields.len() * 2, bytes + stream.len() + 16);
    command.arg("XADD").arg(stream).arg("NOMKSTREAM").arg("*");
    for (name, value) in &fields {
        command.arg(name.as_ref()).arg(value.as_ref());
    }
    command
}

fn answer(reply: Value) -> Result<Position, AppendError> {
    if let Some(position) = value::position(&reply) {
        return Ok(position);
    }
    let refused = reply.extract_error();
    match refused {
        Err(error) if error.code() == Some("OOM") => Err(AppendError::Pressure),
        Err(error) => Err(AppendError::Away(error.to_string())),
        Ok(Value::Nil) => Err(AppendError::Away("the partition's stream is gone; run `millrace migrate`".to_owned())),
        Ok(other) => Err(AppendError::Unknown(format!("unexpected answer {other:?}"))),
    }
}
