//! The bookkeeping of one batch: which events are settled, and how a reply of ingest changes that. Does no I/O.

use std::time::Duration;

use serde::Deserialize;

/// The result of one request to ingest.
#[derive(Debug)]
pub enum IngestReply {
    /// An HTTP response.
    Http {
        /// The status code.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
        /// The body.
        body: String,
    },
    /// Nothing was sent, because there was no connection.
    NotSent(String),
    /// The request was sent and no response came. It may have been accepted.
    Lost(String),
}

/// An event that ingest refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Index of the event in the batch.
    pub index: usize,
    /// The field at fault.
    pub field: String,
    /// The reason.
    pub error: String,
}

/// The step that follows a reply of ingest to the batch.
#[derive(Debug, PartialEq, Eq)]
pub enum BatchNext {
    /// Every event is accepted or rejected.
    Done,
    /// Send the pending events again, after a wait.
    Retry {
        /// The shortest wait that ingest asked for.
        after: Option<Duration>,
        /// The reason why events are still pending.
        reason: String,
    },
    /// A retry cannot cure this.
    Fail(String),
}

/// How far a batch is.
#[derive(Debug)]
pub struct BatchProgress {
    /// Indexes of the events that are not settled.
    pending: Vec<usize>,
    accepted: u64,
    rejections: Vec<Rejection>,
    /// Whether an earlier attempt may have been accepted although no reply says so.
    in_doubt: bool,
    resent: u64,
}

#[derive(Deserialize)]
struct BatchBody {
    accepted: Option<AcceptedBody>,
    #[serde(default)]
    rejected: Vec<RejectedBody>,
    error: Option<String>,
}

/// A count when all events are settled; indexes in the request when the log became unavailable after some of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum AcceptedBody {
    Count(u64),
    Indexes(Vec<usize>),
}

#[derive(Deserialize)]
struct RejectedBody {
    index: usize,
    #[serde(default)]
    field: String,
    #[serde(default)]
    error: String,
}

impl BatchProgress {
    /// A batch of `len` events, none of them sent.
    pub fn new(len: usize) -> Self {
        Self { pending: (0..len).collect(), accepted: 0, rejections: Vec::new(), in_doubt: false, resent: 0 }
    }

    /// The events to send, in order. Counts those that may have arrived before as resent.
    pub fn attempt(&mut self) -> &[usize] {
        if self.in_doubt {
            self.resent += self.pending.len() as u64;
        }
        &self.pending
    }

    /// Events accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Events sent again although they may have been accepted before. Their ids make that harmless.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// The events refused so far.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Applies the result of the attempt.
    pub fn settle(&mut self, reply: IngestReply) -> BatchNext {
        let (status, after, text) = match reply {
            IngestReply::NotSent(reason) => return BatchNext::Retry { after: None, reason },
            IngestReply::Lost(reason) => {
                self.in_doubt = true;
                return BatchNext::Retry { after: None, reason };
            }
            IngestReply::Http { status, retry_after, body } => (status, retry_after, body),
        };
        let body: Option<BatchBody> = serde_json::from_str(&text).ok();
        let shown = || format!("{status} {}", text.chars().take(300).collect::<String>());
        match (status, body) {
            (200..300 | 422, Some(BatchBody { accepted: Some(AcceptedBody::Count(accepted)), rejected, .. })) => {
                self.settle_all(accepted, rejected).unwrap_or_else(|| BatchNext::Fail(shown()))
            }
            (429 | 502 | 503 | 504, body) => {
                let reason = body.as_ref().and_then(|body| body.error.clone()).unwrap_or_else(shown);
                match body {
                    Some(BatchBody { accepted: Some(AcceptedBody::Indexes(accepted)), rejected, .. }) => {
                        self.settle_some(&accepted, rejected);
                    }
                    _ => self.in_doubt = true,
                }
                if self.pending.is_empty() { BatchNext::Done } else { BatchNext::Retry { after, reason } }
            }
            _ => BatchNext::Fail(shown()),
        }
    }

    /// Returns None when the reply does not account for exactly the events that were sent.
    fn settle_all(&mut self, accepted: u64, rejected: Vec<RejectedBody>) -> Option<BatchNext> {
        let fits = accepted + rejected.len() as u64 == self.pending.len() as u64
            && rejected.iter().all(|rejection| rejection.index < self.pending.len());
        if !fits {
            return None;
        }
        self.accepted += accepted;
        self.reject(rejected);
        self.pending.clear();
        Some(BatchNext::Done)
    }

    fn settle_some(&mut self, accepted: &[usize], rejected: Vec<RejectedBody>) {
        let mut settled = vec![false; self.pending.len()];
        for index in accepted.iter().copied().chain(rejected.iter().map(|rejection| rejection.index)) {
            if let Some(settled) = settled.get_mut(index) {
                *settled = true;
            }
        }
        self.reject(rejected);
        self.accepted += accepted.iter().filter(|index| **index < settled.len()).count() as u64;
        let mut settled = settled.into_iter();
        self.pending.retain(|_| !settled.next().unwrap_or(false));
    }

    fn reject(&mut self, rejected: Vec<RejectedBody>) {
        for RejectedBody { index, field, error } in rejected {
            if let Some(index) = self.pending.get(index).copied() {
                self.rejections.push(Rejection { index, field, error });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, body: &str) -> IngestReply {
        IngestReply::Http { status, retry_after: None, body: body.to_owned() }
    }

    #[test]
    fn a_reply_about_all_events_settles_all() {
        let mut batch = BatchProgress::new(3);
        let body = r#"{"accepted":2,"rejected":[{"index":1,"field":"properties.quantity","error":"expected int64"}]}"#;
        assert_eq!(batch.settle(http(202, body)), BatchNext::Done);
        assert_eq!((batch.accepted(), batch.rejections()[0].index, batch.resent()), (2, 1, 0));
    }

    #[test]
    fn only_what_was_not_accepted_is_sent_again() {
        let mut batch = BatchProgress::new(4);
        assert_eq!(batch.attempt(), [0, 1, 2, 3]);
        let partial = http(503, r#"{"error":"the log is unavailable","accepted":[0,2],"rejected":[]}"#);
        let reason = "the log is unavailable".to_owned();
        assert_eq!(batch.settle(partial), BatchNext::Retry { after: None, reason });
        assert_eq!(batch.attempt(), [1, 3]);
        let last = http(422, r#"{"accepted":0,"rejected":[{"index":0},{"index":1,"field":"time"}]}"#);
        assert_eq!(batch.settle(last), BatchNext::Done);
        let rejected: Vec<usize> = batch.rejections().iter().map(|rejection| rejection.index).collect();
        assert_eq!((batch.accepted(), rejected, batch.resent()), (2, vec![1, 3], 0));
    }

    #[test]
    fn what_is_in_doubt_is_sent_again_and_counted() {
        let mut batch = BatchProgress::new(2);
        batch.attempt();
        assert!(matches!(batch.settle(IngestReply::NotSent("refused".into())), BatchNext::Retry { .. }));
        batch.attempt();
        assert_eq!(batch.resent(), 0, "nothing had been sent");
        assert!(matches!(batch.settle(IngestReply::Lost("reset".into())), BatchNext::Retry { .. }));
        assert_eq!(batch.attempt(), [0, 1]);
        assert_eq!(batch.resent(), 2);
        assert_eq!(batch.settle(http(202, r#"{"accepted":2,"rejected":[]}"#)), BatchNext::Done);
    }

    #[test]
    fn a_reply_that_does_not_add_up_is_a_failure() {
        let fails = |status, body| matches!(BatchProgress::new(2).settle(http(status, body)), BatchNext::Fail(_));
        assert!(fails(202, r#"{"accepted":1,"rejected":[]}"#));
        assert!(fails(202, "welcome"));
        assert!(fails(413, r#"{"error":"too large"}"#));
        assert!(fails(400, r#"{"error":"not JSON"}"#));
    }

    #[test]
    fn back_pressure_says_when_to_try_again() {
        let after = Some(Duration::from_secs(2));
        let reply = IngestReply::Http { status: 503, retry_after: after, body: String::new() };
        let next = BatchProgress::new(1).settle(reply);
        assert!(matches!(next, BatchNext::Retry { after: a, .. } if a == after), "{next:?}");
    }
}
