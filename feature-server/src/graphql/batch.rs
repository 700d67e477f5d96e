//! One read of the stores for one GraphQL request, however its query is shaped. A resolver that needs features leaves
//! its request here and waits; the stores are read once for all of them when the execution cannot go on without.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use millrace_core::key::KeyText;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::config::Limits;
use crate::error::RequestError;
use crate::repository::{Answer, Plan, Request};
use crate::state::Shared;

/// What the resolvers of one request have asked for so far.
pub struct Batch {
    limits: Limits,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    waiting: Vec<(Request, oneshot::Sender<Answer>)>,
    keys: usize,
    values: usize,
}

impl Batch {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, asked: Mutex::default() }
    }

    /// Reads, together with all others.
    pub async fn read(&self, plan: Arc<Plan>, keys: Vec<KeyText>, as_of: Option<i64>) -> Result<Answer, RequestError> {
        let (sender, receiver) = oneshot::channel();
        self.asked.lock().waiting.push((Request::new(plan, keys, as_of), sender));
        receiver.await.map_err(|_| RequestError::Unavailable("the request has ended".to_owned()))
    }

    /// Counts keys and values of a field, and refuses it beyond the limits of one request, all its fields together.
    pub fn admit(&self, keys: usize, values: usize) -> Result<(), RequestError> {
        let mut asked = self.asked.lock();
        asked.keys = asked.keys.saturating_add(keys);
        asked.values = asked.values.saturating_add(values);
        let Limits { max_keys, max_values, .. } = self.limits;
        for (count, what, most) in [(asked.keys, "keys", max_keys), (asked.values, "values", max_values)] {
            if count > most {
                let error = format!("{count} {what} in one request; the most is {most}");
                return Err(RequestError::invalid("keys", error));
            }
        }
        Ok(())
    }

    fn asks(&self) -> usize {
        self.asked.lock().waiting.len()
    }

    /// Runs an execution to its end, reading the stores whenever it waits for nothing else. What is read has `budget` from
    /// the start on.
    pub async fn run<T>(&self, shared: &Shared, budget: Duration, execution: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let mut execution = pin!(execution);
        loop {
            // It waits for nothing but the stores when it is polled and asks for nothing more.
            let ended = poll_fn(|context| {
                loop {
                    let before = self.asks();
                    match execution.as_mut().poll(context) {
                        Poll::Ready(ended) => return Poll::Ready(Some(ended)),
                        Poll::Pending if self.asks() > before => {}
                        Poll::Pending if before > 0 => return Poll::Ready(None),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            });
            if let Some(ended) = ended.await {
                return ended;
            }
            self.answer(shared, budget.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn answer(&self, shared: &Shared, deadline: Duration) {
        let begun = Instant::now();
        let waiting = std::mem::take(&mut self.asked.lock().waiting);
        let (mut requests, waiting): (Vec<Request>, Vec<_>) = waiting.into_iter().unzip();
        requests.iter_mut().for_each(|request| request.deadline = Some(deadline));
        let answers = shared.repository.read_all(&requests).await;
        shared.doors.graphql.read(begun.elapsed());
        for (sender, answer) in waiting.into_iter().zip(answers) {
            // Who no longer waits has been refused for another reason.
            let _ = sender.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::Parser;

    #[test]
    fn limits_are_those_of_the_whole_request() {
        let limits = Limits { max_keys: 10, max_values: 50, ..Config::parse_from(["feature-server"]).limits };
        let batch = Batch::new(limits);
        assert_eq!(batch.admit(6, 30), Ok(()));
        assert!(batch.admit(3, 30).unwrap_err().to_string().starts_with("60 values"));
        assert!(batch.admit(2, 0).unwrap_err().to_string().starts_with("11 keys"));
    }
}
