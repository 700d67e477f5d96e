//! Monotonic puts as calls of the functions `put` and `put_each` of the library in `migrations/redis`: which puts share a
//! call, and the outcome of each slot.

use redis::{Cmd, RedisResult};

use super::error::FeatureStoreError;
use crate::log::functions;
use crate::stores::pieces::pieces;

/// The most keys of a call that writes one field of many. Redis serves no other call for about a quarter of a
/// millisecond meanwhile. More keys save nothing that can be measured.
const KEYS_PER_CALL: usize = 64;
/// The most bytes of such a call, unless one key has more.
const BYTES_PER_CALL: usize = 64 * 1024;

/// Slots of one entity key that are to be written.
#[derive(Clone, Debug)]
pub struct Put {
    /// The hash.
    pub key: String,
    /// The time after which the whole hash expires, in ms. None: never.
    pub expire_ms: Option<u64>,
    /// (field, encoded slot).
    pub slots: Vec<(String, Vec<u8>)>,
}

impl Put {
    pub(super) fn bytes(&self) -> usize {
        self.slots.iter().map(|(_, value)| value.len()).sum()
    }

    /// Whether both write one field, and the same.
    fn is_alike(&self, other: &Self) -> bool {
        match (self.slots.as_slice(), other.slots.as_slice()) {
            ([(field, _)], [(other_field, _)]) => field == other_field && self.expire_ms == other.expire_ms,
            _ => false,
        }
    }
}

/// The outcome of one slot of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// Stored.
    Written,
    /// Stored before, by an earlier attempt or another owner: the state is a function of the log, so it is the same.
    Already,
    /// A newer state is stored; the writer must reload.
    Stale,
    /// The stored value is not a slot that this version reads. It was left as it is.
    Undecodable,
    /// The key does not hold a hash. It was left as it is.
    WrongType,
}

/// Redis's code for a call on a key that holds another type.
pub(super) const WRONG_TYPE: &str = "WRONGTYPE";
/// The answer of `put_each` for such a key.
const NO_HASH: i64 = -3;

/// The puts of each call: neighbours that write the same one field go together, any other put goes by itself. (In a Redis
/// Cluster, which this client does not support, the keys of a call would have to share a hash slot.)
pub(super) fn calls(puts: &[Put]) -> impl Iterator<Item = &[Put]> {
    let alike = puts.chunk_by(Put::is_alike);
    alike.flat_map(|puts| pieces(puts, KEYS_PER_CALL, BYTES_PER_CALL, Put::bytes))
}

/// The command that writes the puts of one call.
pub(super) fn put_command(call: &[Put]) -> Cmd {
    let keys: Vec<&str> = call.iter().map(|put| put.key.as_str()).collect();
    let expire_ms = call.first().and_then(|put| put.expire_ms).unwrap_or(0);
    let mut slots = call.iter().flat_map(|put| &put.slots).peekable();
    if let [put] = call {
        let mut command = functions::call(functions::PUT, &keys);
        command.arg(expire_ms).arg(put.slots.len());
        slots.for_each(|(field, value)| {
            command.arg(field).arg(value);
        });
        return command;
    }
    let mut command = functions::call(functions::PUT_EACH, &keys);
    command.arg(expire_ms).arg(slots.peek().map(|(field, _)| field));
    slots.for_each(|(_, value)| {
        command.arg(value);
    });
    command
}

/// Adds the outcomes of one call, put by put.
pub(super) fn decode_outcomes(
    reply: RedisResult<Vec<i64>>,
    call: &[Put],
    outcomes: &mut Vec<Vec<PutOutcome>>,
) -> Result<(), FeatureStoreError> {
    let slots = call.iter().map(|put| put.slots.len()).sum();
    let codes = match reply {
        Err(error) if error.code() == Some(WRONG_TYPE) && call.len() == 1 => vec![NO_HASH; slots],
        reply => reply.map_err(FeatureStoreError::Unavailable)?,
    };
    if codes.len() != slots {
        return Err(FeatureStoreError::Unexpected(format!("{} outcomes for {slots} slots", codes.len())));
    }
    let mut decoded = codes.into_iter().map(decode_outcome);
    for put in call {
        outcomes.push(decoded.by_ref().take(put.slots.len()).collect::<Result<_, _>>()?);
    }
    Ok(())
}

fn decode_outcome(code: i64) -> Result<PutOutcome, FeatureStoreError> {
    match code {
        1 => Ok(PutOutcome::Written),
        0 => Ok(PutOutcome::Already),
        -1 => Ok(PutOutcome::Stale),
        -2 => Ok(PutOutcome::Undecodable),
        NO_HASH => Ok(PutOutcome::WrongType),
        other => Err(FeatureStoreError::Unexpected(format!("outcome {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: usize, expire_ms: Option<u64>, fields: &[&str], bytes: usize) -> Put {
        let slots = fields.iter().map(|field| ((*field).to_owned(), vec![0; bytes])).collect();
        Put { key: key.to_string(), expire_ms, slots }
    }

    #[test]
    fn only_neighbours_that_write_the_same_one_field_share_a_call() {
        let puts = [
            put(0, None, &["a"], 1),
            put(1, None, &["a"], 1),
            put(2, None, &["b"], 1),
            put(3, Some(5), &["b"], 1),
            put(4, Some(5), &["b", "c"], 1),
            put(5, Some(5), &["b", "c"], 1),
            put(6, Some(5), &["b"], 1),
            put(7, Some(5), &["b"], 1),
        ];
        let shared: Vec<Vec<&str>> =
            calls(&puts).map(|call| call.iter().map(|put| put.key.as_str()).collect()).collect();
        assert_eq!(shared, [vec!["0", "1"], vec!["2"], vec!["3"], vec!["4"], vec!["5"], vec!["6", "7"]]);
    }

    #[test]
    fn a_call_is_short() {
        let sizes = |puts: &[Put]| -> Vec<usize> { calls(puts).map(<[Put]>::len).collect() };
        let small: Vec<Put> = (0..KEYS_PER_CALL * 2 + 1).map(|key| put(key, None, &["a"], 1)).collect();
        assert_eq!(sizes(&small), [KEYS_PER_CALL, KEYS_PER_CALL, 1]);
        let large: Vec<Put> = (0..5).map(|key| put(key, None, &["a"], BYTES_PER_CALL / 2)).collect();
        assert_eq!(sizes(&large), [2, 2, 1]);
        assert!(sizes(&[]).is_empty());
    }
}
