//! Puts the rows of a run: chunk by chunk, pipelined, a few at a time. A store that is away is waited for; a key that is
//! refused is tried again, then counted and named.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use millrace_core::batch::{InvalidRow, RowReader, Run, SLOT};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, Store, View};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::slot::Slot;
use millrace_core::sql::BatchColumns;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio_util::sync::CancellationToken;

use super::{BACK_OFF, Progress};
use crate::backoff::BackOff;
use crate::names::Names;
use crate::stores::features::{FeatureStore, FeatureStoreError, Put, PutOutcome};
use crate::stores::profiles::{ProfileError, ProfilePut, ProfileStore, ProfileWritten};

/// Chunks that are being written at the same time: one is packed while the store works on others.
pub(super) const IN_FLIGHT: usize = 4;
/// How often a key is sent on its own before it counts as failed.
const ATTEMPTS: usize = 3;

/// Which of its rows a key gets must not depend on their order.
const TWICE: &str = "the query returns this key more than once, with different values";

/// Writes the rows of one run. Shared by its chunks.
pub(super) struct Writer {
    pub(super) definitions: Arc<Definitions>,
    pub(super) view: usize,
    pub(super) columns: BatchColumns,
    pub(super) run: Run,
    pub(super) names: Names,
    pub(super) features: FeatureStore,
    pub(super) profiles: ProfileStore,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    /// How often the query was run before: what an earlier pass has put is replaced.
    pub(super) pass: AtomicU64,
}

/// Why a chunk was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// A later run has written.
    Fenced,
    /// Told to stop.
    Stopped,
    /// The store will not take it, and why.
    Failed(String),
}

/// The rows of one chunk of lines.
struct Chunk {
    /// Those that can be stored, each of another key.
    rows: Vec<(KeyText, Slot)>,
    /// How many lines there were.
    read: u64,
    /// How many of them say what another says.
    repeated: u64,
}

/// What became of a key.
enum Written {
    Now,
    Already,
    Refused(String),
}

impl Writer {
    pub(super) fn view(&self) -> &View {
        &self.definitions.views[self.view]
    }

    /// Gives a collection its indexes before its first document.
    pub(super) async fn ensure(&self) -> Result<(), Unwritten> {
        let mut back_off = BACK_OFF;
        while self.view().store == Store::MongoDb {
            match self.profiles.ensure(self.view()).await {
                Ok(()) => break,
                Err(error) => self.pause_for_profiles(&mut back_off, &error).await?,
            }
        }
        self.progress.goes_on();
        Ok(())
    }

    /// Writes one chunk of lines.
    pub(super) async fn write(&self, lines: &Bytes) -> Result<(), Unwritten> {
        let Chunk { rows, read, repeated } = self.read(lines);
        let fates = match self.view().store {
            Store::MongoDb => self.put_profiles(&rows).await?,
            _ => self.put_features(&rows).await?,
        };
        let there = rows.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Written::Already)).map(|(row, _)| row);
        let twice = self.holding_others(there.collect()).await?;
        let (mut written, mut already) = (0, repeated);
        for ((key, _), fate) in rows.iter().zip(fates) {
            match fate {
                Written::Now => written += 1,
                Written::Already if twice.contains(key) => self.progress.fail(key.to_string(), TWICE.to_owned()),
                Written::Already => already += 1,
                Written::Refused(reason) => self.progress.fail(key.to_string(), reason),
            }
        }
        self.progress.add(read, written, already);
        metrics::counter!("millrace_batch_rows_total", "view" => self.view().id()).increment(read);
        Ok(())
    }

    /// The rows that can be stored.
    fn read(&self, lines: &Bytes) -> Chunk {
        let pass = self.pass.load(Ordering::Relaxed);
        let reader = RowReader::new(&self.definitions, self.view(), self.columns, self.run, pass);
        let mut chunk = Chunk { rows: Vec::with_capacity(1_024), read: 0, repeated: 0 };
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

    /// Of rows whose checkpoint is stored already, the keys that hold other values: nobody else writes this checkpoint, so
    /// an earlier attempt has put this very row, or the key came with another one.
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

    /// What is stored of some keys; none where there is nothing, or nothing of ours.
    async fn stored(&self, rows: &[&(KeyText, Slot)]) -> Result<Vec<Option<Vec<u8>>>, Unwritten> {
        let mut back_off = BACK_OFF;
        if self.view().store == Store::MongoDb {
            let keys: Vec<&str> = rows.iter().map(|(key, _)| key.as_str()).collect();
            loop {
                match self.profiles.load(self.view(), &keys).await {
                    Ok(mut found) => return Ok(keys.into_iter().map(|key| found.remove(key)).collect()),
                    Err(error) => self.pause_for_profiles(&mut back_off, &error).await?,
                }
            }
        }
        let reads: Vec<_> = rows.iter().map(|(key, _)| (self.hash(key), [self.field()])).collect();
        loop {
            match self.features.read(&reads).await {
                Ok(found) => return Ok(found.into_iter().map(|fields| fields.ok()?.pop()?).collect()),
                Err(error) => self.pause_for_features(&mut back_off, &error).await?,
            }
        }
    }

    fn hash(&self, key: &KeyText) -> String {
        self.names.entity(&self.definitions.entities[self.view().entity].name, key.as_str())
    }

    fn field(&self) -> String {
        format!("{}|{SLOT}", self.view().id())
    }

    async fn put_features(&self, rows: &[(KeyText, Slot)]) -> Result<Vec<Written>, Unwritten> {
        let field = self.field();
        let put = |(key, slot): &(KeyText, Slot)| Put {
            key: self.hash(key),
            expire_ms: None,
            slots: vec![(field.clone(), codec::encode(slot))],
        };
        let puts: Vec<Put> = rows.iter().map(put).collect();
        let mut back_off = BACK_OFF;
        loop {
            match self.features.put(&puts).await {
                Ok(outcomes) => {
                    self.progress.goes_on();
                    return outcomes.iter().flatten().map(fate_in_redis).collect();
                }
                Err(error) if error.is_refusal() => return self.put_singly(&puts).await,
                Err(error) => self.pause_for_features(&mut back_off, &error).await?,
            }
        }
    }

    /// Finds the keys that the server refuses, and gives each a few chances.
    async fn put_singly(&self, puts: &[Put]) -> Result<Vec<Written>, Unwritten> {
        let mut fates: Vec<Option<Written>> = puts.iter().map(|_| None).collect();
        let mut back_off = BACK_OFF;
        for attempt in 1..=ATTEMPTS {
            for (put, fate) in puts.iter().zip(&mut fates) {
                if !matches!(fate, None | Some(Written::Refused(_))) {
                    continue;
                }
                *fate = Some(self.put_one(put).await?);
            }
            if attempt < ATTEMPTS && fates.iter().any(|fate| matches!(fate, Some(Written::Refused(_)))) {
                self.sleep(&mut back_off).await?;
            }
        }
        Ok(fates.into_iter().flatten().collect())
    }

    async fn put_one(&self, put: &Put) -> Result<Written, Unwritten> {
        let mut back_off = BACK_OFF;
        loop {
            match self.features.put(std::slice::from_ref(put)).await {
                Ok(outcomes) => match outcomes.iter().flatten().next() {
                    Some(outcome) => return fate_in_redis(outcome),
                    None => return Ok(Written::Refused("the store did not say what became of it".to_owned())),
                },
                Err(error) if error.is_refusal() => return Ok(Written::Refused(error.to_string())),
                Err(error) => self.pause_for_features(&mut back_off, &error).await?,
            }
        }
    }

    async fn put_profiles(&self, rows: &[(KeyText, Slot)]) -> Result<Vec<Written>, Unwritten> {
        let view = self.view();
        // A run belongs to no partition.
        let partition = Partition(0);
        let mut back_off = BACK_OFF;
        loop {
            let puts = rows.iter().map(|(key, slot)| ProfilePut { view, key, slot, partition });
            match self.profiles.put(&puts.collect::<Vec<_>>()).await {
                Ok(outcomes) => {
                    self.progress.goes_on();
                    return outcomes.into_iter().map(fate_in_mongodb).collect();
                }
                Err(error) => self.pause_for_profiles(&mut back_off, &error).await?,
            }
        }
    }

    async fn pause_for_features(&self, back_off: &mut BackOff, error: &FeatureStoreError) -> Result<(), Unwritten> {
        self.progress.wait_for_store(format!("redis: {error}"));
        self.sleep(back_off).await
    }

    /// An error that stays ends the run.
    async fn pause_for_profiles(&self, back_off: &mut BackOff, error: &ProfileError) -> Result<(), Unwritten> {
        let what = format!("mongodb: {error}");
        if !error.is_passing() {
            return Err(Unwritten::Failed(what));
        }
        self.progress.wait_for_store(what);
        self.sleep(back_off).await
    }

    async fn sleep(&self, back_off: &mut BackOff) -> Result<(), Unwritten> {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(back_off.next_delay())).await;
        slept.ok_or(Unwritten::Stopped)
    }
}

fn not_utf8(line: &[u8]) -> InvalidRow {
    let key = String::from_utf8_lossy(line).chars().take(80).collect();
    InvalidRow { key, reason: "the row is not UTF-8".to_owned() }
}

fn fate_in_redis(outcome: &PutOutcome) -> Result<Written, Unwritten> {
    match outcome {
        PutOutcome::Written => Ok(Written::Now),
        PutOutcome::Already => Ok(Written::Already),
        PutOutcome::Stale => Err(Unwritten::Fenced),
        PutOutcome::WrongType => Ok(Written::Refused("the key holds no hash (WRONGTYPE); it stays".to_owned())),
        PutOutcome::Undecodable => Ok(Written::Refused("what is stored there is no slot of ours; it stays".to_owned())),
    }
}

fn fate_in_mongodb(outcome: ProfileWritten) -> Result<Written, Unwritten> {
    match outcome {
        ProfileWritten::Written => Ok(Written::Now),
        ProfileWritten::Already => Ok(Written::Already),
        ProfileWritten::Stale => Err(Unwritten::Fenced),
        ProfileWritten::Refused(reason) => Ok(Written::Refused(reason)),
    }
}
