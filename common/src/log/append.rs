//! Appending events: the `XADD`s of a batch in one write, on a few shared connections. Each event has its own answer,
//! which tells apart what was refused, what was never sent, and what may or may not be in the log.

mod lane;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use redis::RedisError;

use super::Log;
use super::error::LogError;
use super::memory::{Gauge, Pressure};
use lane::Lane;

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
    lanes: Vec<Lane>,
    next: AtomicUsize,
    /// Per partition, what every `XADD` to its stream begins with after the number of its parts.
    heads: Vec<Vec<u8>>,
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
        let mut lanes = Vec::with_capacity(connections.max(1));
        for _ in 0..connections.max(1) {
            lanes.push(Lane::open(log.link_ref().another()).await?);
        }
        let heads = log.partitions().map(|partition| head(&log.names().events(partition))).collect();
        let gauge = Gauge::start(log.link_ref().another()).await?;
        Ok(Self(Arc::new(Shared { lanes, next: AtomicUsize::new(0), heads, gauge, refuse_above })))
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
        let bytes = |event: &Event| 400 + event.properties.len();
        let mut commands = Vec::with_capacity(events.iter().map(|(_, event)| bytes(event)).sum());
        for (partition, event) in events {
            match self.0.heads.get(usize::from(partition.0)) {
                Some(head) => xadd(head, event, &mut commands),
                None => {
                    return vec![Err(AppendError::Away(format!("there is no partition {partition}"))); events.len()];
                }
            }
        }
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.lanes[turn % self.0.lanes.len()].send(commands, events.len()).await
    }
}

/// `NOMKSTREAM`: a stream that `migrate` did not make has no groups, and must not come into being by accident.
fn head(stream: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for part in ["XADD", stream, "NOMKSTREAM", "*"] {
        bulk(&["", part], &mut head);
    }
    head
}

/// One command in Redis's protocol.
fn xadd(head: &[u8], event: &Event, commands: &mut Vec<u8>) {
    length(b'*', 4 + 2 * event.field_count(), commands);
    commands.extend_from_slice(head);
    event.each_field(|name, value| {
        bulk(&name, commands);
        bulk(&[value, ""], commands);
    });
}

fn bulk(parts: &[&str; 2], commands: &mut Vec<u8>) {
    length(b'$', parts[0].len() + parts[1].len(), commands);
    commands.extend_from_slice(parts[0].as_bytes());
    commands.extend_from_slice(parts[1].as_bytes());
    commands.extend_from_slice(b"\r\n");
}

fn length(kind: u8, mut number: usize, commands: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    commands.push(kind);
    commands.extend_from_slice(&digits[at..]);
    commands.extend_from_slice(b"\r\n");
}

fn refused(error: &RedisError) -> AppendError {
    if error.code() == Some("OOM") { AppendError::Pressure } else { AppendError::Away(error.to_string()) }
}

fn stream_gone() -> AppendError {
    AppendError::Away("the partition's stream is gone; run `millrace migrate`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::event::EventId;
    use millrace_core::key::KeyText;

    #[test]
    fn a_command_is_what_the_driver_would_make_of_the_fields() {
        let event = Event {
            event_type: "click".into(),
            source: String::new(),
            id: EventId::Made("é".into()),
            time: Some(-1_000),
            keys: vec![("user".into(), KeyText::from_canonical("1")), ("item".into(), KeyText::from_canonical("x"))],
            properties: "{\"a\":\"\r\n\"}".repeat(100),
            traceparent: Some("00-0".into()),
        };
        for event in [Event { time: None, traceparent: None, ..event.clone() }, event] {
            let mut command = redis::cmd("XADD");
            command.arg("events:{3}").arg("NOMKSTREAM").arg("*");
            for (name, value) in event.fields() {
                command.arg(name.as_ref()).arg(value.as_ref());
            }
            let mut ours = Vec::new();
            xadd(&head("events:{3}"), &event, &mut ours);
            assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(command.get_packed_command()).unwrap());
        }
    }
}
