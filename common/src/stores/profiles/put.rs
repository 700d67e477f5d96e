//! The monotonic put: a document is replaced iff the stored one is older, by one atomic filtered upsert each. A refused
//! upsert answers E11000, because the document exists and the filter did not match it. The stored checkpoint then tells
//! whether the same state is stored already or a newer one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millrace_core::codec::MAX_DOCUMENT_BYTES;
use millrace_core::definitions::View;
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::slot::{Checkpoint, Slot};
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ReplaceOneModel, WriteModel};

use super::document;
use super::error::ProfileError;
use super::store::{MOST_PER_COMMAND, ProfileStore};
use crate::stores::pieces::pieces;

/// First wire version with `bulkWrite`: server 8.0.
const BULK_WIRE_VERSION: i32 = 25;
const DUPLICATE_KEY: i32 = 11_000;
/// The least number of documents per command. A server that is late is sent fewer at a time, down to this.
const LEAST_PER_COMMAND: usize = 8;
/// Bytes per command, unless one document has more: the server takes no command past 48 MB.
const BYTES_PER_COMMAND: usize = 16 * 1024 * 1024;
/// A race of two first inserts looks like a refusal once. A second refusal is a real one.
const ATTEMPTS: usize = 3;

/// One document that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct ProfilePut<'a> {
    /// The view, which names the collection.
    pub view: &'a View,
    /// The entity's key.
    pub key: &'a KeyText,
    /// The state.
    pub slot: &'a Slot,
    /// The partition whose sink writes it.
    pub partition: Partition,
}

/// The outcome of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileWritten {
    /// Stored.
    Written,
    /// Stored before, by an earlier attempt or another owner: the state is a function of the log, so it is the same.
    Already,
    /// A newer state is stored; the writer must reload.
    Stale,
    /// MongoDB will never take the document, for this reason.
    Refused(String),
}

/// A document that is to be sent.
struct Pending {
    index: usize,
    collection: String,
    filter: Document,
    document: Document,
    bytes: usize,
}

impl ProfileStore {
    /// Writes documents monotonically, in unordered batches, so that one refusal does not hold up the others. Outcomes are
    /// in the order of `puts`, each of which names another document.
    pub async fn put(&self, puts: &[ProfilePut<'_>]) -> Result<Vec<ProfileWritten>, ProfileError> {
        let mut outcomes = vec![ProfileWritten::Written; puts.len()];
        let mut pending = Vec::with_capacity(puts.len());
        for (index, put) in puts.iter().enumerate() {
            match prepare(index, put) {
                Ok(ready) => pending.push(ready),
                Err(reason) => outcomes[index] = ProfileWritten::Refused(reason),
            }
        }
        for _ in 0..ATTEMPTS {
            if pending.is_empty() {
                return Ok(outcomes);
            }
            let refused = self.send(&pending).await?;
            let raced = self.settle(puts, &pending, refused, &mut outcomes).await?;
            pending.retain(|put| raced.contains(&put.index));
        }
        if pending.is_empty() {
            return Ok(outcomes);
        }
        Err(ProfileError::Unavailable(format!("{} puts were refused by documents older than they are", pending.len())))
    }

    /// Sends all documents. Returns the errors by index into `pending`.
    async fn send(&self, pending: &[Pending]) -> Result<HashMap<usize, (i32, String)>, ProfileError> {
        let bulk = *self.bulk.get_or_try_init(|| self.takes_bulk_writes()).await?;
        let mut errors = HashMap::new();
        let mut first = 0;
        let most = self.puts_per_command.load(Ordering::Relaxed);
        for chunk in pieces(pending, most, BYTES_PER_COMMAND, |put| put.bytes) {
            let begun = Instant::now();
            let found = if bulk { self.bulk_write(chunk).await } else { self.update(chunk).await };
            self.adjust(chunk.len(), &found, begun.elapsed());
            let found = found?;
            errors.extend(found.into_iter().map(|(index, error)| (first + index, error)));
            first += chunk.len();
        }
        Ok(errors)
    }

    /// Halves the number of documents in the next command after one that was late, and doubles it after one that left time.
    fn adjust<T>(&self, sent: usize, answer: &Result<T, ProfileError>, took: Duration) {
        let most = match answer {
            Err(ProfileError::Late(_)) => (sent / 2).max(LEAST_PER_COMMAND),
            Ok(_) if took < self.timeout / 8 => (sent * 2).min(MOST_PER_COMMAND),
            Ok(_)
            | Err(
                ProfileError::Url(_)
                | ProfileError::Unavailable(_)
                | ProfileError::Refused { .. }
                | ProfileError::Unexpected(_)
                | ProfileError::Edited(_),
            ) => return,
        };
        let is_less = answer.is_err();
        let change = |now: usize| Some(if is_less { now.min(most) } else { now.max(most) });
        let _ = self.puts_per_command.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    async fn takes_bulk_writes(&self) -> Result<bool, ProfileError> {
        let hello = self.within(self.database.run_command(doc! { "hello": 1 })).await?;
        Ok(hello.get_i32("maxWireVersion").is_ok_and(|version| version >= BULK_WIRE_VERSION))
    }

    async fn bulk_write(&self, chunk: &[Pending]) -> Result<Vec<(usize, (i32, String))>, ProfileError> {
        let models = chunk.iter().map(|put| {
            let namespace = self.database.collection::<Document>(&put.collection).namespace();
            let (filter, replacement) = (put.filter.clone(), put.document.clone());
            let model = ReplaceOneModel::builder().namespace(namespace).filter(filter).replacement(replacement);
            WriteModel::from(model.upsert(true).build())
        });
        let call = self.client.bulk_write(models).ordered(false);
        let Ok(answer) = tokio::time::timeout(self.timeout, call).await else {
            return Err(ProfileError::Late(self.timeout));
        };
        let Err(error) = answer else { return Ok(Vec::new()) };
        match error.kind.as_ref() {
            ErrorKind::BulkWrite(bulk)
                if bulk.write_concern_errors.is_empty() && std::error::Error::source(&error).is_none() =>
            {
                let errors = bulk.write_errors.iter();
                Ok(errors.map(|(index, error)| (*index, (error.code, error.message.clone()))).collect())
            }
            _ => Err(error.into()),
        }
    }

    /// As `bulk_write`, for servers before 8.0: one `update` command per collection, with many updates.
    async fn update(&self, chunk: &[Pending]) -> Result<Vec<(usize, (i32, String))>, ProfileError> {
        let mut by_collection: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, put) in chunk.iter().enumerate() {
            by_collection.entry(&put.collection).or_default().push(index);
        }
        let mut errors = Vec::new();
        for (collection, indices) in by_collection {
            let one = |index: &usize| -> Bson {
                let put = &chunk[*index];
                doc! { "q": put.filter.clone(), "u": put.document.clone(), "upsert": true }.into()
            };
            let updates: Vec<Bson> = indices.iter().map(one).collect();
            let command = doc! {
                "update": collection, "updates": updates, "ordered": false, "writeConcern": { "w": "majority" },
            };
            let answer = self.within(self.database.run_command(command)).await?;
            if let Ok(error) = answer.get_document("writeConcernError") {
                return Err(ProfileError::Unavailable(error.to_string()));
            }
            for error in answer.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document) {
                let index = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
                let index = index.and_then(|index| indices.get(index));
                let Some(index) = index else { return Err(ProfileError::Unexpected(error.to_string())) };
                let code = error.get_i32("code").unwrap_or_default();
                errors.push((*index, (code, error.get_str("errmsg").unwrap_or_default().to_owned())));
            }
        }
        Ok(errors)
    }

    /// Finds out the meaning of each refusal. Returns the puts that only raced with another first insert, by their index.
    async fn settle(
        &self,
        puts: &[ProfilePut<'_>],
        pending: &[Pending],
        refused: HashMap<usize, (i32, String)>,
        outcomes: &mut [ProfileWritten],
    ) -> Result<HashSet<usize>, ProfileError> {
        let mut not_newer: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, (code, message)) in refused {
            let Some(put) = pending.get(at) else { return Err(ProfileError::Unexpected(message)) };
            match code {
                DUPLICATE_KEY => not_newer.entry(&put.collection).or_default().push(put.index),
                code if is_about_the_document(code) => {
                    outcomes[put.index] = ProfileWritten::Refused(format!("error {code}: {message}"));
                }
                code => return Err(ProfileError::Refused { code, message }),
            }
        }
        let mut raced = HashSet::new();
        for indices in not_newer.into_values() {
            let stored = self.checkpoints(puts, &indices).await?;
            for index in indices {
                let ours = puts[index].slot.checkpoint;
                match stored.get(puts[index].key.as_str()) {
                    Some(Ok(stored)) if *stored == ours => outcomes[index] = ProfileWritten::Already,
                    Some(Ok(stored)) if *stored > ours => outcomes[index] = ProfileWritten::Stale,
                    // No put will ever be newer than that document.
                    Some(Err(reason)) => outcomes[index] = ProfileWritten::Refused(reason.clone()),
                    Some(Ok(_)) | None => {
                        raced.insert(index);
                    }
                }
            }
        }
        Ok(raced)
    }

    /// The stored checkpoint of each key that has a document, or why it cannot be read.
    async fn checkpoints(
        &self,
        puts: &[ProfilePut<'_>],
        indices: &[usize],
    ) -> Result<HashMap<String, Result<Checkpoint, String>>, ProfileError> {
        let Some(first) = indices.first() else { return Ok(HashMap::new()) };
        let keys: Vec<&str> = indices.iter().map(|index| puts[*index].key.as_str()).collect();
        let found = self.find(&self.committed(puts[*first].view), &keys, doc! { "checkpoint.order": 1 }).await?;
        let foreign = |reason| {
            format!("the stored document is not a profile that Millrace wrote ({reason}); it was left as it is")
        };
        found.iter().map(|raw| Ok((document::key(raw)?, document::ordered(raw).map_err(foreign)))).collect()
    }
}

/// A document past the limit comes from a state that an earlier engine has written: `apply` refuses a definition that could
/// make one.
fn prepare(index: usize, put: &ProfilePut<'_>) -> Result<Pending, String> {
    let document = document::document(put.view, put.slot, put.partition);
    let bytes = document.to_vec().map_err(|error| error.to_string())?.len();
    if bytes as u64 > MAX_DOCUMENT_BYTES {
        return Err(format!("the document would have {bytes} bytes, MongoDB takes {MAX_DOCUMENT_BYTES}"));
    }
    let filter = document::older(put.key.as_str(), put.slot.checkpoint);
    Ok(Pending { index, collection: document::collection(put.view), filter, document, bytes })
}

/// Errors about the document itself, which stay on a retry: it is too large, too deep, or against a validator.
fn is_about_the_document(code: i32) -> bool {
    const OVERFLOW: i32 = 15;
    const DOCUMENT_VALIDATION: i32 = 121;
    const TOO_LARGE: [i32; 2] = [10_334, 17_419];
    [OVERFLOW, DOCUMENT_VALIDATION].contains(&code) || TOO_LARGE.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_late_is_sent_less_until_it_has_time() {
        let timeout = Duration::from_secs(8);
        let store = ProfileStore::connect("mongodb://127.0.0.1:1", "n", 1, timeout).await.unwrap();
        let most = || store.puts_per_command.load(Ordering::Relaxed);
        let late = || Err::<(), _>(ProfileError::Late(timeout));
        for expected in [500, 250, 125, 62, 31, 15, 8, 8] {
            store.adjust(most(), &late(), timeout);
            assert_eq!(most(), expected);
        }
        store.adjust(8, &Ok(()), Duration::from_secs(7));
        assert_eq!(most(), 8, "just in time");
        store.adjust(3, &Ok(()), Duration::ZERO);
        assert_eq!(most(), 8, "few documents say nothing of many");
        for expected in [16, 32, 64] {
            store.adjust(most(), &Ok(()), Duration::from_millis(900));
            assert_eq!(most(), expected);
        }
        store.adjust(900, &Ok(()), Duration::ZERO);
        assert_eq!(most(), MOST_PER_COMMAND);
        store.adjust(64, &Err::<(), _>(ProfileError::Unavailable("x".into())), timeout);
        assert_eq!(most(), MOST_PER_COMMAND, "an unavailable server says nothing about its speed");
    }
}
