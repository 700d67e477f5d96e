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
use super::{LOSS_WINDOW_MS, Log, functions, value};

/// How far one sink is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkCursor {
    /// Everything up to here is in the store.
    pub position: Position,
    /// How many entries that is since the log began.
    pub entries_read: u64,
    /// What was about to be sent when this was written, and may have arrived.
    pub in_flight: Option<String>,
}

/// One step of one sink: everything after `from` up to and with `to` is in its store.
#[derive(Clone, Debug)]
pub struct Advance<'a> {
    /// Which partition.
    pub partition: Partition,
    /// Whose cursor.
    pub group: Group,
    /// The right to move it.
    pub token: &'a LeaseToken,
    /// Which of the group's sinks.
    pub sink: &'a str,
    /// Where it must stand now.
    pub from: Position,
    /// Where it stands then; later than `from`.
    pub to: Position,
    /// Entries of the stream between the two, duplicates and dead ones included.
    pub entries: u64,
    /// Up to where entries are no longer wanted, if it is time to trim. Redis keeps what any sink still needs.
    pub trim_to: Option<Position>,
    /// What this sink left out of the range.
    pub dead: &'a [DeadLetter],
}

/// What became of an [`Advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// The cursor stands at `to`.
    Done,
    /// Another owner or epoch holds the partition; nothing has changed.
    Fenced,
    /// The cursor stands elsewhere; nothing has changed. Where that is `to`, an earlier call did it and its answer
    /// was lost: only the holder of the token can have moved it.
    Moved(Position),
}

/// Where each sink of the group stands; needs no lease.
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
    sink_cursors(group, &fields_of(reply).ok_or(wrong)?)
}

/// Writes what is about to be sent, so that whoever comes next knows what may have arrived. False: the partition is
/// another's, or the sink does not stand at `from`; then nothing may be sent.
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

/// Moves a sink's position after its store holds everything up to `to`.
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

pub(super) type Fields = BTreeMap<String, String>;

pub(super) fn fields_of(reply: Value) -> Option<Fields> {
    value::fields(reply)?.into_iter().map(|(name, value)| Some((name, value::text(value)?))).collect()
}

/// The group's sinks as its cursor holds them; one that has never moved stands before everything.
pub(super) fn sink_cursors(group: Group, fields: &Fields) -> Result<BTreeMap<String, SinkCursor>, LogError> {
    let one = |sink: &'static str| {
        let field = |what: &str| fields.get(&format!("{sink}:{what}"));
        let position = field("position").map_or(Ok(Position::ZERO), |text| text.parse())?;
        let entries_read = field("entries").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok((sink.to_owned(), SinkCursor { position, entries_read, in_flight: field("in_flight").cloned() }))
    };
    group.sinks().iter().copied().map(one).collect()
}
