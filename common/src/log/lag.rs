//! The lag of a group, sink by sink: for metrics and readiness.

use millrace_core::partition::Partition;
use millrace_core::position::Position;

use super::cursor::sink_cursors;
use super::error::{LogError, unexpected};
use super::group::Group;
use super::{Log, value};

const DOING: &str = "read the lag of the group";

/// The lag of one sink in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkLag {
    /// The partition.
    pub partition: Partition,
    /// The sink.
    pub sink: &'static str,
    /// Everything up to here is in its store.
    pub position: Position,
    /// The number of entries behind that.
    pub entries: u64,
    /// The position of the first of them.
    pub next: Option<Position>,
}

/// The lag of every event sink of the group in every partition: one round trip, and a second one if entries wait.
pub async fn lag(log: &Log, group: Group) -> Result<Vec<SinkLag>, LogError> {
    let mut lags = sinks(log, group).await?;
    let waiting: Vec<&mut SinkLag> = lags.iter_mut().filter(|lag| lag.entries > 0).collect();
    if waiting.is_empty() {
        return Ok(lags);
    }
    let mut pipeline = redis::Pipeline::new();
    for lag in &waiting {
        let after = format!("({}", lag.position);
        pipeline.cmd("XRANGE").arg(log.names().events(lag.partition)).arg(after).arg("+").arg("COUNT").arg(1);
    }
    let found = log.link_ref().query_all(DOING, &pipeline).await?;
    for (lag, entries) in waiting.into_iter().zip(found) {
        let first = value::array(entries).and_then(|entries| entries.into_iter().next());
        let id = first.and_then(value::array).and_then(|entry| value::position(entry.first()?));
        lag.next = id;
    }
    Ok(lags)
}

async fn sinks(log: &Log, group: Group) -> Result<Vec<SinkLag>, LogError> {
    let names = log.names();
    let mut pipeline = redis::Pipeline::new();
    for partition in log.partitions() {
        // The cursor first: entries that are appended between the two calls count as waiting.
        pipeline.cmd("HGETALL").arg(names.cursor(partition, group));
        pipeline.cmd("XINFO").arg("STREAM").arg(names.events(partition));
    }
    let mut replies = log.link_ref().query_all(DOING, &pipeline).await?.into_iter();
    let mut next = || replies.next().unwrap_or(redis::Value::Nil);
    let mut lags = Vec::new();
    for partition in log.partitions() {
        let cursor = value::hash_fields(next()).ok_or_else(|| unexpected(DOING, &"no cursor"))?;
        let cursors = sink_cursors(group, &cursor)?;
        let stream = value::fields(next()).ok_or_else(|| unexpected(DOING, &"no stream"))?;
        let added = stream.iter().find(|(name, _)| name == "entries-added").and_then(|(_, added)| value::number(added));
        for sink in group.event_sinks() {
            let cursor = cursors.get(sink).cloned().unwrap_or_default();
            let entries = added.unwrap_or(0).saturating_sub(cursor.entries_read);
            lags.push(SinkLag { partition, sink, position: cursor.position, entries, next: None });
        }
    }
    Ok(lags)
}
