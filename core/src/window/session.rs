//! Session windows: chains of entries, each at most a gap after the one before. The last chain counts while its end is
//! at most a gap before `t`.

use super::{Arrival, Counted, expect_tag};
use crate::aggregate::WrongKind;
use crate::bytes::{DecodeError, Reader, Writer};

pub(super) const TAG: u8 = 2;

/// A chain of entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Session<T> {
    /// Feature time of its first entry.
    pub start: i64,
    /// Feature time of its last entry.
    pub end: i64,
    /// The tile that has absorbed its entries.
    pub tile: T,
}

/// Sessions by their start, ascending, that an entry in time could still touch.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions<T> {
    sessions: Vec<Session<T>>,
}

pub(super) fn horizon(gap: i64, lateness: i64) -> i64 {
    gap + lateness
}

/// Sessions end more than a gap apart, and no earlier than `lateness` and a gap before the newest entry.
pub(super) fn max_tiles(gap: i64, lateness: i64) -> u64 {
    u64::try_from(lateness / gap.max(1) + 3).unwrap_or(u64::MAX)
}

pub(super) fn sql_condition(index: usize) -> String {
    format!("in_session_{index}")
}

/// Marks the entries of each key's current session in a column of its own.
pub(super) fn sql_entries(index: usize, gap: i64, lateness: i64, keys: &str, entries: &str) -> String {
    // The greatest feature time before each entry, in log order, whatever the entries' own times are.
    let before = format!(
        "SELECT *, maxOrNull(feature_ms) OVER (PARTITION BY {keys} ORDER BY `partition`, stream_ms, stream_seq \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_{index} FROM ({entries})"
    );
    let in_time =
        format!("SELECT *, ifNull(feature_ms >= before_{index} - {lateness}, 1) AS in_time_{index} FROM ({before})");
    let next = format!(
        "SELECT *, lagInFrame(feature_ms, 1, feature_ms) OVER (PARTITION BY {keys}, in_time_{index} \
         ORDER BY feature_ms DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS next_{index}, \
         max(feature_ms) OVER (PARTITION BY {keys}, in_time_{index}) AS end_{index} FROM ({in_time})"
    );
    // An entry is in the session if no pause comes after it. A range gives entries of one time the same answer.
    format!(
        "SELECT *, in_time_{index} AND {{t:Int64}} - end_{index} <= {gap} AND sum(next_{index} - feature_ms > {gap}) \
         OVER (PARTITION BY {keys}, in_time_{index} ORDER BY feature_ms DESC \
         RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) = 0 AS in_session_{index} FROM ({next})"
    )
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Self { sessions: Vec::new() }
    }
}

impl<T> Sessions<T> {
    /// Drops the sessions that no entry can touch any more.
    pub(super) fn tile_for(
        &mut self,
        gap: i64,
        lateness: i64,
        arrival: Arrival,
        empty: impl FnOnce() -> T,
        merge: impl FnOnce(&mut T, &T) -> Result<(), WrongKind>,
    ) -> Result<Counted<'_, T>, WrongKind> {
        if arrival.newest_before.is_some_and(|before| arrival.time < before.saturating_sub(lateness)) {
            return Ok(Counted::Late);
        }
        let reachable = arrival.newest().saturating_sub(lateness).saturating_sub(gap);
        self.sessions.retain(|session| session.end >= reachable);
        let session = self.session_at(arrival.time, gap, empty, merge)?;
        Ok(Counted::In(&mut session.tile))
    }

    /// The session that an entry at `time` belongs to, after the join of those that it connects.
    fn session_at(
        &mut self,
        time: i64,
        gap: i64,
        empty: impl FnOnce() -> T,
        merge: impl FnOnce(&mut T, &T) -> Result<(), WrongKind>,
    ) -> Result<&mut Session<T>, WrongKind> {
        let sessions = &mut self.sessions;
        // Sessions are more than a gap apart, so at most two neighbours touch [time − gap, time + gap].
        let first = sessions.partition_point(|session| session.end < time.saturating_sub(gap));
        let touching = sessions[first..].iter().take_while(|session| session.start <= time.saturating_add(gap)).count();
        if touching == 0 {
            sessions.insert(first, Session { start: time, end: time, tile: empty() });
        }
        if touching == 2 {
            let later = sessions.remove(first + 1);
            let earlier = &mut sessions[first];
            earlier.end = later.end;
            merge(&mut earlier.tile, &later.tile)?;
        }
        let session = &mut sessions[first];
        session.start = session.start.min(time);
        session.end = session.end.max(time);
        Ok(session)
    }

    /// The tile of the session that is open at `t`. Only the last one can be.
    pub(super) fn open_at(&self, gap: i64, t: i64) -> Option<&T> {
        self.sessions.last().filter(|last| is_open(last.end, gap, t)).map(|last| &last.tile)
    }

    pub(super) fn write(&self, writer: &mut Writer, mut tile: impl FnMut(&mut Writer, &T)) {
        writer.byte(TAG);
        writer.length(self.sessions.len());
        for session in &self.sessions {
            writer.signed(i128::from(session.start));
            writer.signed(i128::from(session.end) - i128::from(session.start));
            tile(writer, &session.tile);
        }
    }

    pub(super) fn read<'a>(
        reader: &mut Reader<'a>,
        mut tile: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Self, DecodeError> {
        expect_tag(reader, TAG)?;
        let count = reader.length()?;
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            let (start, end) = read_times(reader)?;
            sessions.push(Session { start, end, tile: tile(reader)? });
        }
        Ok(Self { sessions })
    }
}

pub(super) fn visit<'a>(
    reader: &mut Reader<'a>,
    gap: i64,
    t: i64,
    mut tile: impl FnMut(&mut Reader<'a>, bool) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    expect_tag(reader, TAG)?;
    let count = reader.length()?;
    for left in (0..count).rev() {
        let (_, end) = read_times(reader)?;
        tile(reader, left == 0 && is_open(end, gap, t))?;
    }
    Ok(())
}

fn read_times(reader: &mut Reader<'_>) -> Result<(i64, i64), DecodeError> {
    let start = reader.signed64()?;
    Ok((start, start.saturating_add(reader.signed64()?)))
}

fn is_open(end: i64, gap: i64, t: i64) -> bool {
    t.saturating_sub(end) <= gap
}
