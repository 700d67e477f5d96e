//! The bookkeeping of one batch: which events have settled, and what an answer of ingest means for the rest. No I/O.

use std::time::Duration;

use serde::Deserialize;

/// What ingest said, as far as it is known.
#[derive(Debug)]
pub enum Answer {
    /// An HTTP answer.
    Http {
        /// The status code.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
        /// The body.
        body: String,
    },
    /// Nothing was sent: no connection.
    NotSent(String),
    /// Sent, and no answer came: it may have been accepted.
    Lost(String),
}

/// An event that ingest refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Place of the event in the batch.
    pub index: usize,
    /// The field at fault.
    pub field: String,
    /// The reason.
    pub error: String,
}

/// What to do next with the batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Every event is accepted or rejected.
    Done,
    /// Send what is pending again, not before that long.
    Retry {
        /// As ingest asked.
        after: Option<Duration>,
        /// What went wrong.
        reason: String,
    },
    /// No retry cures this.
    Fail(String),
}

/// The events of a batch that have not settled, by their place in it.
#[derive(Debug)]
pub struct Batch {
    pending: Vec<usize>,
    accepted: u64,
    rejections: Vec<Rejection>,
    /// Whether an earlier attempt may have been accepted without our knowing.
    in_doubt: bool,
    resent: u64,
}

#[derive(Deserialize)]
struct BatchBody {
    accepted: Option<Accepted>,
    #[serde(default)]
    rejected: Vec<RejectedBody>,
    error: Option<String>,
}

/// A count when all has settled; places in the request when only some were accepted before the log went away.
#[derive(Deserialize)]
#[serde(untagged)]
enum Accepted {
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

impl Batch {
    /// A batch of so many events, none of them sent.
    pub fn new(len: usize) -> Self {
        Self { pending: (0..len).collect(), accepted: 0, rejections: Vec::new(), in_doubt: false, resent: 0 }
    }

    /// The events to send, in order. Those that may have arrived before are counted as resent.
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

    /// Events sent again that may have been accepted before; their ids make that harmless.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// The events refused so far.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Takes in what came of the attempt.
    pub fn settle(&mut self, answer: Answer) -> Next {
        let (status, after, text) = match answer {
            Answer::NotSent(reason) => return Next::Retry { after: None, reason },
            Answer::Lost(reason) => {
                self.in_doubt = true;
                return Next::Retry { after: None, reason };
            }
            Answer::Http { status, retry_after, body } => (status, retry_after, body),
        };
        let body: Option<BatchBody> = serde_json::from_str(&text).ok();
        let shown = || format!("{status} {}", text.chars().take(300).collect::<String>());
        match (status, body) {
            (200..300 | 422, Some(BatchBody { accepted: Some(Accepted::Count(accepted)), rejected, .. })) => {
                self.settle_all(accepted, rejected).unwrap_or_else(|| Next::Fail(shown()))
            }
            (429 | 502 | 503 | 504, body) => {
                let reason = body.as_ref().and_then(|body| body.error.clone()).unwrap_or_else(shown);
                match body {
                    Some(BatchBody { accepted: Some(Accepted::Indexes(accepted)), rejected, .. }) => {
                        self.settle_some(&accepted, rejected);
                    }
                    _ => self.in_doubt = true,
                }
                if self.pending.is_empty() { Next::Done } else { Next::Retry { after, reason } }
            }
            _ => Next::Fail(shown()),
        }
    }

    /// None if the answer does not speak of as many events as were sent.
    fn settle_all(&mut self, accepted: u64, rejected: Vec<RejectedBody>) -> Option<Next> {
        let fits = accepted + rejected.len() as u64 == self.pending.len() as u64
            && rejected.iter().all(|rejection| rejection.index < self.pending.len());
        if !fits {
            return None;
        }
        self.accepted += accepted;
        self.reject(rejected);
        self.pending.clear();
        Some(Next::Done)
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
        let mut places = settled.iter();
        self.pending.retain(|_| !places.next().copied().unwrap_or(false));
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

    fn http(status: u16, body: &str) -> Answer {
        Answer::Http { status, retry_after: None, body: body.to_owned() }
    }

    #[test]
    fn an_answer_for_all_settles_all() {
        let mut batch = Batch::new(3);
        let body = r#"{"accepted":2,"rejected":[{"index":1,"field":"properties.quantity","error":"expected int64"}]}"#;
        assert_eq!(batch.settle(http(202, body)), Next::Done);
        assert_eq!((batch.accepted(), batch.rejections()[0].index, batch.resent()), (2, 1, 0));
    }

    #[test]
    fn only_what_was_not_accepted_is_sent_again() {
        let mut batch = Batch::new(4);
        assert_eq!(batch.attempt(), [0, 1, 2, 3]);
        let partial = http(503, r#"{"error":"the log is away","accepted":[0,2],"rejected":[]}"#);
        let reason = "the log is away".to_owned();
        assert_eq!(batch.settle(partial), Next::Retry { after: None, reason });
        assert_eq!(batch.attempt(), [1, 3]);
        let last = http(422, r#"{"accepted":0,"rejected":[{"index":0},{"index":1,"field":"time"}]}"#);
        assert_eq!(batch.settle(last), Next::Done);
        let rejected: Vec<usize> = batch.rejections().iter().map(|rejection| rejection.index).collect();
        assert_eq!((batch.accepted(), rejected, batch.resent()), (2, vec![1, 3], 0));
    }

    #[test]
    fn what_is_in_doubt_is_sent_again_and_counted() {
        let mut batch = Batch::new(2);
        batch.attempt();
        assert!(matches!(batch.settle(Answer::NotSent("refused".into())), Next::Retry { .. }));
        batch.attempt();
        assert_eq!(batch.resent(), 0, "nothing had been sent");
        assert!(matches!(batch.settle(Answer::Lost("reset".into())), Next::Retry { .. }));
        assert_eq!(batch.attempt(), [0, 1]);
        assert_eq!(batch.resent(), 2);
        assert_eq!(batch.settle(http(202, r#"{"accepted":2,"rejected":[]}"#)), Next::Done);
    }

    #[test]
    fn an_answer_that_does_not_add_up_is_no_answer() {
        let fails = |status, body| matches!(Batch::new(2).settle(http(status, body)), Next::Fail(_));
        assert!(fails(202, r#"{"accepted":1,"rejected":[]}"#));
        assert!(fails(202, "welcome"));
        assert!(fails(413, r#"{"error":"too large"}"#));
        assert!(fails(400, r#"{"error":"not JSON"}"#));
    }

    #[test]
    fn back_pressure_says_when_to_come_again() {
        let after = Some(Duration::from_secs(2));
        let answer = Answer::Http { status: 503, retry_after: after, body: String::new() };
        let next = Batch::new(1).settle(answer);
        assert!(matches!(next, Next::Retry { after: a, .. } if a == after), "{next:?}");
    }
}
