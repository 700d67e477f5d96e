//! The progress of a group in a partition. One hash holds the lease, each sink's position, and the batch that is in
//! flight. Every change goes through a function that checks the lease's token, so a former owner changes nothing.

use std::collections::BTreeMap;

use millrace_core::partition::Partition;
use millrace_core::position::Position;
use redis::Value;

use super::dead::DeadLetter;
use super::error::{LogError, unexpected};
use super::group::Group;
use super::lease::LeaseToken;
use super::value::{HashFields, hash_fields};
use super::{Log, functions, value};

/// The most stream time that a failover of the log is assumed to lose, in ms. Entries that are closer than this to a
/// position are not trimmed, so that they can be read again.
pub const LOSS_WINDOW_MS: u64 = 60_000;

/// The progress of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkCursor {
    /// Everything up to here is in the store.
    pub position: Position,
    /// The number of entries up to there, since the log began.
    pub entries_read: u64,
    /// The record of a batch that was about to be sent, and may have arrived.
    pub in_flight: Option<String>,
}

/// One step of one sink: everything after `from` up to and with `to` is in its store.
#[derive(Clone, Debug)]
pub struct Advance<'a> {
    /// Which partition.
    pub partition: Partition,
    /// The group whose cursor is moved.
    pub group: Group,
    /// The right to move the cursor.
    pub token: &'a LeaseToken,
    /// The sink, one of the group's.
    pub sink: &'a str,
    /// Its position before.
    pub from: Position,
    /// Its position afterwards, later than `from`.
    pub to: Position,
    /// The entries of the stream between the two, including duplicates and dead-lettered ones.
    pub entries: u64,
    /// Up to where entries may be trimmed, if it is time to trim. The function keeps the entries that a sink still needs.
    pub trim_to: Option<Position>,
    /// The entries of the range that this sink left out.
    pub dead: &'a [DeadLetter],
}

/// The outcome of an [`Advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// The sink is at `to`.
    Done,
    /// Another owner or epoch holds the partition; nothing has changed.
    Fenced,
    /// The sink is at this other position, and nothing has changed. If that is `to`, an earlier call without an answer moved
    /// it: only the holder of the token can have done so.
    Moved(Position),
}

/// The progress of each sink of the group. It needs no lease.
pub async fn positions(
    log: &Log,
    partition: Partition,
    group: Group,
) -> Result<BTreeMap<String, SinkCursor>, LogError> {
    const DOING: &str = "read a cursor";
    let mut command = redis::cmd("HGETALL");
    command.arg(log.names().cursor(partition, group));
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    sink_cursors(group, &hash_fields(reply).ok_or(wrong)?)
}

/// Records what is about to be sent, so that the next owner knows what may have arrived. Returns false where another owner
/// has the partition or the sink is not at `from`; then nothing may be sent.
pub async fn intend(
    log: &Log,
    partition: Partition,
    group: Group,
    token: &LeaseToken,
    sink: &str,
    from: Position,
    payload: &str,
) -> Result<bool, LogError> {
    const DOING: &str = "write what is in flight";
    let mut command = functions::call(functions::INTEND, &[&log.names().cursor(partition, group)]);
    command.arg(&token.owner).arg(token.epoch).arg(sink).arg(from.to_string()).arg(payload);
    let reply = log.link_ref().query(DOING, &command).await?;
    outcome(DOING, reply).map(|advanced| advanced == Advanced::Done)
}

/// Moves a sink's position, after its store holds everything up to `to`.
pub async fn advance(log: &Log, advance: &Advance<'_>) -> Result<Advanced, LogError> {
    const DOING: &str = "advance a cursor";
    let Advance { partition, group, token, sink, from, to, entries, trim_to, dead } = advance;
    let names = log.names();
    let mut keys = vec![names.cursor(*partition, *group), names.events(*partition), names.dead(*partition)];
    keys.extend(group.others().map(|other| names.cursor(*partition, other)));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut command = functions::call(functions::ADVANCE, &keys);
    command.arg(&token.owner).arg(token.epoch).arg(names.group(*group)).arg(*sink);
    command.arg(from.to_string()).arg(to.to_string()).arg(*entries);
    command.arg(trim_to.map(|position| position.to_string()).unwrap_or_default());
    command.arg(LOSS_WINDOW_MS + log.meta().dedupe_ms);
    command.arg(group.event_sinks_text());
    for other in group.others() {
        command.arg(other.event_sinks_text());
    }
    for letter in *dead {
        let fields = letter.fields();
        command.arg(fields.len() * 2);
        for (name, value) in &fields {
            command.arg(*name).arg(value.as_ref());
        }
    }
    outcome(DOING, log.link_ref().query(DOING, &command).await?)
}

fn outcome(doing: &'static str, reply: Value) -> Result<Advanced, LogError> {
    let wrong = unexpected(doing, &reply);
    let mut parts = value::array(reply).unwrap_or_default().into_iter();
    match parts.next().and_then(value::text).as_deref() {
        Some("ok") => Ok(Advanced::Done),
        Some("fenced") => Ok(Advanced::Fenced),
        Some("moved") => parts.next().as_ref().and_then(value::position).map(Advanced::Moved).ok_or(wrong),
        _ => Err(wrong),
    }
}

/// The progress of the group's sinks in the fields of its cursor. A sink that has never moved is before everything.
pub(super) fn sink_cursors(group: Group, fields: &HashFields) -> Result<BTreeMap<String, SinkCursor>, LogError> {
    let one = |sink: &'static str| {
        let field = |what: &str| fields.get(&format!("{sink}:{what}"));
        let position = field("position").map_or(Ok(Position::ZERO), |text| text.parse())?;
        let entries_read = field("entries").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok((sink.to_owned(), SinkCursor { position, entries_read, in_flight: field("in_flight").cloned() }))
    };
    group.sinks().iter().copied().map(one).collect()
}
