//! Copies a partition's dead letters to ClickHouse. Their stream has a position of its own in the group's cursor. A resent row
//! replaces its twin, because each row carries its position in that stream. The stream is bounded: a letter that it drops
//! before the copy is missing here, and shows as fewer letters copied than written.

use std::time::Duration;

use millrace_common::log::{Advance, Advanced, DEAD_LETTERS, cursor, dead};
use millrace_common::stores::clickhouse::ClickHouse;
use millrace_common::worker::Owned;
use millrace_core::position::Position;
use tokio_util::sync::CancellationToken;

/// The most letters of one INSERT.
const LETTERS: usize = 1_000;
/// How often it checks for new letters.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Copies until told to stop or the lease is lost.
pub async fn copy(clickhouse: ClickHouse, owned: Owned, stop: CancellationToken) {
    let mut every = tokio::time::interval(CHECK_EVERY);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
            () = owned.lost().cancelled() => return,
        }
        match copy_once(&clickhouse, &owned).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(partition = owned.partition().0, %error, "dead letters not copied yet");
                }
                failing = true;
            }
        }
    }
}

async fn copy_once(clickhouse: &ClickHouse, owned: &Owned) -> anyhow::Result<()> {
    let (log, partition, group) = (owned.log(), owned.partition(), owned.group());
    let cursors = cursor::positions(log, partition, group).await?;
    let mut from = cursors.get(DEAD_LETTERS).map_or(Position::ZERO, |cursor| cursor.position);
    loop {
        let letters = dead::read(log, partition, from, LETTERS).await?;
        let Some((to, _)) = letters.last() else { return Ok(()) };
        let to = *to;
        clickhouse.insert_dead_letters(partition, &letters).await?;
        let advance = Advance {
            partition,
            group,
            token: owned.token(),
            sink: DEAD_LETTERS,
            from,
            to,
            entries: letters.len() as u64,
            trim_to: None,
            dead: &[],
        };
        if cursor::advance(log, &advance).await? != Advanced::Done {
            return Ok(());
        }
        metrics::counter!("millrace_dead_letters_copied_total").increment(letters.len() as u64);
        from = to;
    }
}
