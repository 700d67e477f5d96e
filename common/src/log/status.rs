//! The status of the log, for `millrace status`. It takes no lease. Showing it, and asking the other stores, is left to the
//! command.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_core::partition::Partition;
use millrace_core::position::Position;
use redis::Value;

use super::cursor::{SinkCursor, sink_cursors};
use super::error::{LogError, unexpected};
use super::group::Group;
use super::{Log, value};

const DOING: &str = "read the status of the log";

/// The status of one partition.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: Partition,
    /// The number of entries, events and control entries, that have not been trimmed.
    pub length: u64,
    /// The number of entries that were ever appended, including trimmed ones.
    pub appended: u64,
    /// The position of the last entry that was appended.
    pub last: Position,
    /// The number of dead letters that are kept.
    pub dead: u64,
    /// The number of the definitions version that is in force at the end of the partition; 0 before the first `apply`.
    pub version: u64,
    /// The status of both groups in this partition.
    pub groups: Vec<GroupStatus>,
}

/// The status of one group in one partition.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// The group.
    pub group: Group,
    /// The owner of the lease. None where nobody holds it or it has run out.
    pub owner: Option<String>,
    /// The epoch of the lease: the number of times that it was acquired.
    pub epoch: u64,
    /// The time until the lease runs out; zero where it has run out.
    pub lease_left: Duration,
    /// The number of entries after the position of the group's slowest event sink. None where Redis cannot count them.
    pub lag: Option<u64>,
    /// The progress of each sink, by name. The position of `dead_letters` is one of the stream of dead letters.
    pub sinks: BTreeMap<String, SinkCursor>,
}

/// The status of all partitions, in one round trip.
pub async fn status(log: &Log) -> Result<Vec<PartitionStatus>, LogError> {
    let names = log.names();
    let mut pipeline = redis::Pipeline::new();
    pipeline.cmd("TIME");
    for partition in log.partitions() {
        let events = names.events(partition);
        pipeline.cmd("XINFO").arg("STREAM").arg(&events);
        pipeline.cmd("XINFO").arg("GROUPS").arg(&events);
        pipeline.cmd("XLEN").arg(names.dead(partition));
        // Versions are numbered from 1 without gaps, so their number is the number of the newest.
        pipeline.cmd("HLEN").arg(names.versions(partition));
        for group in Group::ALL {
            pipeline.cmd("HGETALL").arg(names.cursor(partition, group));
        }
    }
    let mut replies = log.link_ref().query_all(DOING, &pipeline).await?.into_iter();
    let now = replies.next().and_then(milliseconds).ok_or_else(|| unexpected(DOING, &"no time"))?;
    log.partitions()
        .map(|partition| {
            let mut next = || replies.next().unwrap_or(Value::Nil);
            let stream = map(next())?;
            let lags = lags(next())?;
            let (dead, version) = (value::number(&next()).unwrap_or(0), value::number(&next()).unwrap_or(0));
            let mut groups = Vec::with_capacity(Group::ALL.len());
            for group in Group::ALL {
                groups.push(group_status(group, next(), lags.get(&names.group(group)).copied().flatten(), now)?);
            }
            let of_stream = |name: &str| stream.get(name).and_then(value::number).unwrap_or(0);
            let last = stream.get("last-generated-id").and_then(value::position).unwrap_or_default();
            let (length, appended) = (of_stream("length"), of_stream("entries-added"));
            Ok(PartitionStatus { partition, length, appended, last, dead, version, groups })
        })
        .collect()
}

fn group_status(group: Group, cursor: Value, lag: Option<u64>, now: u64) -> Result<GroupStatus, LogError> {
    let fields = value::hash_fields(cursor).ok_or_else(|| unexpected(DOING, &"no cursor"))?;
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let left = number("expires").saturating_sub(now);
    Ok(GroupStatus {
        group,
        owner: fields.get("owner").filter(|owner| !owner.is_empty() && left > 0).cloned(),
        epoch: number("epoch"),
        lease_left: Duration::from_millis(left),
        lag,
        sinks: sink_cursors(group, &fields)?,
    })
}

/// The lag by group name, from `XINFO GROUPS`.
fn lags(reply: Value) -> Result<BTreeMap<String, Option<u64>>, LogError> {
    let groups = value::array(reply).ok_or_else(|| unexpected(DOING, &"no groups"))?;
    groups
        .into_iter()
        .map(|group| {
            let mut fields = map(group)?;
            let name = fields.remove("name").and_then(value::text).unwrap_or_default();
            Ok((name, fields.get("lag").and_then(value::number)))
        })
        .collect()
}

fn map(reply: Value) -> Result<BTreeMap<String, Value>, LogError> {
    Ok(value::fields(reply).ok_or_else(|| unexpected(DOING, &"no fields"))?.into_iter().collect())
}

fn milliseconds(time: Value) -> Option<u64> {
    let parts = value::array(time)?;
    Some(value::number(parts.first()?)? * 1_000 + value::number(parts.get(1)?)? / 1_000)
}
