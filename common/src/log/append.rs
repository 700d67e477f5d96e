//! Appending events: the `XADD`s of a batch in one write, on a few shared connections. Each event has its own outcome,
//! which tells apart an event that was refused, one that was never sent, and one that may or may not be in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use super::Log;
use super::error::{AppendError, LogError};
use super::fast_path::{AppendPipeline, append_command, append_head};
use super::memory::{MemoryGauge, Pressure};

/// Events are refused above this part of `maxmemory`. The rest is for the state of the backlog.
pub const DEFAULT_REFUSE_ABOVE: f64 = 0.85;

/// Appends events. A clone is cheap and shares the connections.
#[derive(Clone)]
pub struct Appender(Arc<AppenderParts>);

struct AppenderParts {
    pipelines: Vec<AppendPipeline>,
    next: AtomicUsize,
    /// For each partition, the parts with which every `XADD` to its stream begins.
    heads: Vec<Vec<u8>>,
    gauge: MemoryGauge,
    refuse_above: f64,
}

impl Appender {
    /// Appends over that number of connections, at least one; calls take turns. Refuses events above
    /// [`DEFAULT_REFUSE_ABOVE`] of `maxmemory`.
    pub async fn open(log: &Log, connections: usize) -> Result<Self, LogError> {
        Self::open_refusing_above(log, connections, DEFAULT_REFUSE_ABOVE).await
    }

    /// As [`Appender::open`], with another bound as a part of `maxmemory`.
    pub async fn open_refusing_above(log: &Log, connections: usize, refuse_above: f64) -> Result<Self, LogError> {
        let mut pipelines = Vec::with_capacity(connections.max(1));
        for _ in 0..connections.max(1) {
            pipelines.push(AppendPipeline::open(log.link_ref().another()).await?);
        }
        let heads = log.partitions().map(|partition| append_head(&log.names().events(partition))).collect();
        let gauge = MemoryGauge::start(log.link_ref().another()).await?;
        Ok(Self(Arc::new(AppenderParts { pipelines, next: AtomicUsize::new(0), heads, gauge, refuse_above })))
    }

    /// The log's memory when it was last read.
    pub fn pressure(&self) -> Pressure {
        self.0.gauge.pressure()
    }

    /// Whether events are refused now.
    pub fn is_refusing(&self) -> bool {
        self.pressure().ratio() > self.0.refuse_above
    }

    /// Appends the events in order and returns the outcome of each, in order. `Ok` means that Redis has it.
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
                Some(head) => append_command(head, event, &mut commands),
                None => {
                    return vec![
                        Err(AppendError::Unavailable(format!("there is no partition {partition}")));
                        events.len()
                    ];
                }
            }
        }
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.pipelines[turn % self.0.pipelines.len()].send(commands, events.len()).await
    }
}
