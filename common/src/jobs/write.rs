//! Puts the rows of a run into the view's store: chunk by chunk, pipelined, a few chunks at a time. While the store is
//! unavailable, a run waits. A key that is refused is tried again, then counted and named.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use millrace_core::batch::{InvalidRow, RowReader, Run};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, View};
use millrace_core::key::KeyText;
use millrace_core::slot::Slot;
use millrace_core::sql::BatchColumns;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio_util::sync::CancellationToken;

use super::patience::BACK_OFF;
use super::progress::RunProgress;
use crate::backoff::BackOff;
use crate::stores::online::{OnlineStore, SlotAddress, SlotOutcome, SlotPut, SlotWriter, StoreFault};

/// The chunks in flight: one is packed while the store works on the others.
pub(super) const IN_FLIGHT: usize = 4;
/// The attempts at a key on its own before it counts as failed.
const ATTEMPTS: usize = 3;

/// The reason for a key that comes twice: its values must not depend on the order of the rows.
const TWICE: &str = "the query returns this key more than once, with different values";

/// Writes the rows of one run. Its chunks share it.
pub(super) struct RowWriter<S> {
    pub(super) definitions: Arc<Definitions>,
    pub(super) view: usize,
    pub(super) columns: BatchColumns,
    pub(super) run: Run,
    pub(super) store: S,
    pub(super) progress: Arc<RunProgress>,
    pub(super) stop: CancellationToken,
    /// The passes before this one. A put replaces that of an earlier pass.
    pub(super) pass: AtomicU64,
}

/// Why a chunk was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// A later run has written.
    Fenced,
    /// Told to stop.
    Stopped,
    /// The store refuses all rows, for this reason.
    Failed(String),
}

/// The rows of one chunk of lines.
struct RowChunk {
    /// The rows that can be stored, each of another key.
    rows: Vec<(KeyText, Slot)>,
    /// The number of lines.
    read: u64,
    /// The number of lines that repeat another one.
    repeated: u64,
}

/// The outcome of one row.
enum RowOutcome {
    Written,
    /// This run has written the key before.
    Already,
    /// The store does not take it, for this reason.
    Refused(String),
}

impl<S: OnlineStore> RowWriter<S> {
    pub(super) fn view(&self) -> &View {
        &self.definitions.views[self.view]
    }

    /// Prepares the store for the view, before its first row.
    pub(super) async fn prepare(&self) -> Result<(), Unwritten> {
        let mut back_off = BACK_OFF;
        while let Err(error) = self.store.prepare(self.view()).await {
            self.pause(&mut back_off, &error).await?;
        }
        self.progress.goes_on();
        Ok(())
    }

    /// Writes one chunk of lines.
    pub(super) async fn write(&self, lines: &Bytes) -> Result<(), Unwritten> {
        let RowChunk { rows, read, repeated } = self.read(lines);
        let outcomes = self.put(&rows).await?;
        let there = rows
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, RowOutcome::Already))
            .map(|(row, _)| row);
        let twice = self.holding_others(there.collect()).await?;
        let (mut written, mut already) = (0, repeated);
        for ((key, _), outcome) in rows.iter().zip(outcomes) {
            match outcome {
                RowOutcome::Written => written += 1,
                RowOutcome::Already if twice.contains(key) => self.progress.fail(key.to_string(), TWICE.to_owned()),
                RowOutcome::Already => already += 1,
                RowOutcome::Refused(reason) => self.progress.fail(key.to_string(), reason),
            }
        }
        self.progress.add(read, written, already);
        metrics::counter!("millrace_batch_rows_total", "view" => self.view().id()).increment(read);
        Ok(())
    }

    /// The rows that can be stored.
    fn read(&self, lines: &Bytes) -> RowChunk {
        let pass = self.pass.load(Ordering::Relaxed);
        let reader = RowReader::new(&self.definitions, self.view(), self.columns, self.run, pass);
        let mut chunk = RowChunk { rows: Vec::with_capacity(1_024), read: 0, repeated: 0 };
        let (mut places, mut twice) = (FxHashMap::default(), FxHashSet::default());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            chunk.read += 1;
            let row = std::str::from_utf8(line).map_err(|_| not_utf8(line)).and_then(|line| reader.read(line));
            match row {
                Ok((key, slot)) => match places.get(&key) {
                    None => {
                        places.insert(key.clone(), chunk.rows.len());
                        chunk.rows.push((key, slot));
                    }
                    Some(place) if chunk.rows[*place].1 == slot => chunk.repeated += 1,
                    Some(_) => {
                        twice.insert(key);
                    }
                },
                Err(invalid) => self.progress.fail(invalid.key, invalid.reason),
            }
        }
        if !twice.is_empty() {
            chunk.rows.retain(|(key, _)| !twice.contains(key));
            twice.iter().for_each(|key| self.progress.fail(key.to_string(), TWICE.to_owned()));
        }
        chunk
    }

    /// Of rows whose checkpoint is stored already, the keys that hold other values. Only this run writes this checkpoint, so
    /// an earlier attempt has put this row, or the query returned the key with other values.
    async fn holding_others<'r>(&self, rows: Vec<&'r (KeyText, Slot)>) -> Result<FxHashSet<&'r KeyText>, Unwritten> {
        if rows.is_empty() {
            return Ok(FxHashSet::default());
        }
        let stored = self.stored(&rows).await?;
        self.progress.goes_on();
        let holds_other = |((key, slot), stored): (&'r (KeyText, Slot), Option<Vec<u8>>)| {
            let same_run = |stored: &Vec<u8>| codec::checkpoint(stored) == Ok(slot.checkpoint);
            stored.filter(same_run).filter(|stored| *stored != codec::encode(slot)).map(|_| key)
        };
        Ok(rows.into_iter().zip(stored).filter_map(holds_other).collect())
    }

    /// The stored slots of some rows, in their order. None where nothing is stored, or something that is not a slot.
    async fn stored(&self, rows: &[&(KeyText, Slot)]) -> Result<Vec<Option<Vec<u8>>>, Unwritten> {
        let view = self.view();
        let addresses: Vec<SlotAddress<'_>> = rows.iter().map(|(key, _)| SlotAddress { view, key }).collect();
        let mut back_off = BACK_OFF;
        loop {
            match self.store.load_slots(&self.definitions, SlotWriter::Batch, &addresses).await {
                Ok(found) => return Ok(found.into_iter().map(|slot| slot.ok().flatten()).collect()),
                Err(error) => self.pause(&mut back_off, &error).await?,
            }
        }
    }

    async fn put(&self, rows: &[(KeyText, Slot)]) -> Result<Vec<RowOutcome>, Unwritten> {
        let mut back_off = BACK_OFF;
        loop {
            match self.put_once(rows).await {
                Ok(outcomes) => {
                    self.progress.goes_on();
                    return outcomes.into_iter().map(row_outcome).collect();
                }
                Err(error) if S::fault(&error) == StoreFault::Call => return self.put_singly(rows).await,
                Err(error) => self.pause(&mut back_off, &error).await?,
            }
        }
    }

    /// Finds the rows that the store refuses, and gives each a few attempts.
    async fn put_singly(&self, rows: &[(KeyText, Slot)]) -> Result<Vec<RowOutcome>, Unwritten> {
        let mut outcomes: Vec<Option<RowOutcome>> = rows.iter().map(|_| None).collect();
        let mut back_off = BACK_OFF;
        for attempt in 1..=ATTEMPTS {
            for (row, outcome) in rows.iter().zip(&mut outcomes) {
                if matches!(outcome, None | Some(RowOutcome::Refused(_))) {
                    *outcome = Some(self.put_one(row).await?);
                }
            }
            let refused = outcomes.iter().any(|outcome| matches!(outcome, Some(RowOutcome::Refused(_))));
            if attempt < ATTEMPTS && refused {
                self.sleep(&mut back_off).await?;
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    async fn put_one(&self, row: &(KeyText, Slot)) -> Result<RowOutcome, Unwritten> {
        let mut back_off = BACK_OFF;
        loop {
            match self.put_once(std::slice::from_ref(row)).await {
                Ok(outcomes) => match outcomes.into_iter().next() {
                    Some(outcome) => return row_outcome(outcome),
                    None => return Ok(RowOutcome::Refused("the store did not answer for this key".to_owned())),
                },
                Err(error) if S::fault(&error) == StoreFault::Call => {
                    return Ok(RowOutcome::Refused(error.to_string()));
                }
                Err(error) => self.pause(&mut back_off, &error).await?,
            }
        }
    }

    async fn put_once(&self, rows: &[(KeyText, Slot)]) -> Result<Vec<SlotOutcome>, S::Error> {
        let view = self.view();
        let puts: Vec<SlotPut<'_>> =
            rows.iter().map(|(key, slot)| SlotPut { address: SlotAddress { view, key }, slot }).collect();
        self.store.put_slots(&self.definitions, SlotWriter::Batch, &puts).await
    }

    /// Waits before the next attempt. An error that stays ends the run.
    async fn pause(&self, back_off: &mut BackOff, error: &S::Error) -> Result<(), Unwritten> {
        let what = format!("{}: {error}", S::NAME);
        match S::fault(error) {
            StoreFault::Lasting => return Err(Unwritten::Failed(what)),
            StoreFault::Unavailable | StoreFault::Call => self.progress.wait_for_store(what),
        }
        self.sleep(back_off).await
    }

    async fn sleep(&self, back_off: &mut BackOff) -> Result<(), Unwritten> {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(back_off.next_delay())).await;
        slept.ok_or(Unwritten::Stopped)
    }
}

fn row_outcome(outcome: SlotOutcome) -> Result<RowOutcome, Unwritten> {
    match outcome {
        SlotOutcome::Written => Ok(RowOutcome::Written),
        SlotOutcome::Already => Ok(RowOutcome::Already),
        SlotOutcome::Stale => Err(Unwritten::Fenced),
        SlotOutcome::NotASlot(reason) | SlotOutcome::Refused(reason) => Ok(RowOutcome::Refused(reason)),
    }
}

fn not_utf8(line: &[u8]) -> InvalidRow {
    let key = String::from_utf8_lossy(line).chars().take(80).collect();
    InvalidRow { key, reason: "the row is not UTF-8".to_owned() }
}
