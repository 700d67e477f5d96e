//! Puts the rows of a run: chunk by chunk, pipelined, a few at a time. A store that is away is waited for; a key that is
//! refused is tried again, then counted and named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use millrace_core::batch::{RowReader, Run, SLOT};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, Store, View};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::slot::Slot;
use millrace_core::sql::BatchColumns;
use rustc_hash::FxHashSet;
use tokio_util::sync::CancellationToken;

use super::{Pauses, Progress};
use crate::names::Names;
use crate::stores::features::{FeatureStore, Put, PutOutcome};
use crate::stores::profiles::{ProfilePut, ProfileStore, ProfileWritten};

/// Chunks that are being written at the same time: one is packed while the store works on others.
pub(super) const IN_FLIGHT: usize = 4;
/// How often a key is sent on its own before it counts as failed.
const ATTEMPTS: usize = 3;

/// Which of its rows a key gets must not depend on their order.
const TWICE: &str = "the query returns this key more than once";

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
    /// Whether rows of this run may be in the store already, because the query was run before.
    pub(super) again: AtomicBool,
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
        let mut pauses = Pauses::new();
        while self.view().store == Store::MongoDb {
            match self.profiles.ensure(self.view()).await {
                Ok(()) => break,
                Err(error) if !error.is_passing() => return Err(Unwritten::Failed(format!("mongodb: {error}"))),
                Err(error) => self.pause(&mut pauses, format!("mongodb: {error}")).await?,
            }
        }
        self.progress.goes_on();
        Ok(())
    }

    /// Writes one chunk of lines.
    pub(super) async fn write(&self, lines: &Bytes) -> Result<(), Unwritten> {
        let (rows, read) = self.read(lines);
        let (fates, disturbed) = match self.view().store {
            Store::MongoDb => self.put_profiles(&rows).await?,
            _ => self.put_features(&rows).await?,
        };
        let (mut written, mut already) = (0, 0);
        for ((key, _), fate) in rows.into_iter().zip(fates) {
            match fate {
                Written::Now => written += 1,
                // Nobody else writes this checkpoint: where nothing was sent twice, the key came twice.
                Written::Already if !disturbed && !self.again.load(Ordering::Relaxed) => {
                    self.progress.fail(key.to_string(), TWICE.to_owned());
                }
                Written::Already => already += 1,
                Written::Refused(reason) => self.progress.fail(key.to_string(), reason),
            }
        }
        self.progress.add(read, written, already);
        metrics::counter!("millrace_batch_rows_total", "view" => self.view().id()).increment(read);
        Ok(())
    }

    /// The rows that can be stored, and how many lines there were.
    fn read(&self, lines: &Bytes) -> (Vec<(KeyText, Slot)>, u64) {
        let reader = RowReader::new(&self.definitions, self.view(), self.columns, self.run);
        let (mut rows, mut keys, mut read) = (Vec::with_capacity(1_024), FxHashSet::default(), 0);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            read += 1;
            match reader.read(&String::from_utf8_lossy(line)) {
                Ok((key, _)) if !keys.insert(key.clone()) => self.progress.fail(key.to_string(), TWICE.to_owned()),
                Ok(row) => rows.push(row),
                Err(invalid) => self.progress.fail(invalid.key, invalid.reason),
            }
        }
        (rows, read)
    }

    async fn put_features(&self, rows: &[(KeyText, Slot)]) -> Result<(Vec<Written>, bool), Unwritten> {
        let entity = &self.definitions.entities[self.view().entity].name;
        let field = format!("{}|{SLOT}", self.view().id());
        let put = |(key, slot): &(KeyText, Slot)| Put {
            key: self.names.entity(entity, key.as_str()),
            expire_ms: None,
            slots: vec![(field.clone(), codec::encode(slot))],
        };
        let puts: Vec<Put> = rows.iter().map(put).collect();
        let mut pauses = Pauses::new();
        let mut disturbed = false;
        loop {
            match self.features.put(&puts).await {
                Ok(outcomes) => {
                    self.progress.goes_on();
                    let fates: Result<_, _> = outcomes.iter().flatten().map(fate_in_redis).collect();
                    return Ok((fates?, disturbed));
                }
                Err(error) if error.is_refusal() => {
                    // Those that were taken are there already: written, unless an earlier attempt may have done it.
                    let (fates, again) = (self.put_singly(&puts).await?, self.again.load(Ordering::Relaxed));
                    let now = |fate| if matches!(fate, Written::Already) { Written::Now } else { fate };
                    let fates = if disturbed || again { fates } else { fates.into_iter().map(now).collect() };
                    return Ok((fates, true));
                }
                Err(error) => self.pause(&mut pauses, format!("redis: {error}")).await?,
            }
            disturbed = true;
        }
    }

    /// Finds the keys that the server refuses, and gives each a few chances.
    async fn put_singly(&self, puts: &[Put]) -> Result<Vec<Written>, Unwritten> {
        let mut fates: Vec<Option<Written>> = puts.iter().map(|_| None).collect();
        let mut pauses = Pauses::new();
        for attempt in 1..=ATTEMPTS {
            for (put, fate) in puts.iter().zip(&mut fates) {
                if !matches!(fate, None | Some(Written::Refused(_))) {
                    continue;
                }
                *fate = Some(self.put_one(put).await?);
            }
            if attempt < ATTEMPTS && fates.iter().any(|fate| matches!(fate, Some(Written::Refused(_)))) {
                self.sleep(&mut pauses).await?;
            }
        }
        Ok(fates.into_iter().flatten().collect())
    }

    async fn put_one(&self, put: &Put) -> Result<Written, Unwritten> {
        let mut pauses = Pauses::new();
        loop {
            match self.features.put(std::slice::from_ref(put)).await {
                Ok(outcomes) => match outcomes.iter().flatten().next() {
                    Some(outcome) => return fate_in_redis(outcome),
                    None => return Ok(Written::Refused("the store did not say what became of it".to_owned())),
                },
                Err(error) if error.is_refusal() => return Ok(Written::Refused(error.to_string())),
                Err(error) => self.pause(&mut pauses, format!("redis: {error}")).await?,
            }
        }
    }

    async fn put_profiles(&self, rows: &[(KeyText, Slot)]) -> Result<(Vec<Written>, bool), Unwritten> {
        let view = self.view();
        // A run belongs to no partition.
        let partition = Partition(0);
        let mut pauses = Pauses::new();
        let mut disturbed = false;
        loop {
            let puts = rows.iter().map(|(key, slot)| ProfilePut { view, key, slot, partition });
            match self.profiles.put(&puts.collect::<Vec<_>>()).await {
                Ok(outcomes) => {
                    self.progress.goes_on();
                    let fates: Result<_, _> = outcomes.into_iter().map(fate_in_mongodb).collect();
                    return Ok((fates?, disturbed));
                }
                Err(error) if !error.is_passing() => return Err(Unwritten::Failed(format!("mongodb: {error}"))),
                Err(error) => self.pause(&mut pauses, format!("mongodb: {error}")).await?,
            }
            disturbed = true;
        }
    }

    async fn pause(&self, pauses: &mut Pauses, what: String) -> Result<(), Unwritten> {
        self.progress.wait_for(what);
        self.sleep(pauses).await
    }

    async fn sleep(&self, pauses: &mut Pauses) -> Result<(), Unwritten> {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(pauses.next())).await;
        slept.ok_or(Unwritten::Stopped)
    }
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
