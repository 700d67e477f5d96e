//! Reads the stores once for all fields of a GraphQL request. The resolver of a field that needs features queues a read
//! here and waits. When the execution can do nothing more without features, all queued reads go to the repository
//! together. Only fields of the query itself read features, and all of them queue before the first read. Which features
//! a field needs is left to `schema`.

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
use crate::repository::{FeatureAnswer, FeatureRequest, Plan};
use crate::server::FeatureServer;

/// The reads that the resolvers of one GraphQL request have queued. It has nothing to do with batch views.
pub struct Batch {
    limits: Limits,
    queue: Mutex<BatchQueue>,
}

#[derive(Default)]
struct BatchQueue {
    waiting: Vec<(FeatureRequest, oneshot::Sender<FeatureAnswer>)>,
    /// The keys and the values that all fields together have asked for.
    keys: usize,
    values: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new(limits: Limits) -> Self {
        Self { limits, queue: Mutex::default() }
    }

    /// Queues a read and waits until `run` has made it. `as_of` is in epoch ms; None means now. Fails with
    /// `Unavailable` if the GraphQL request ends first.
    pub async fn read(
        &self,
        plan: Arc<Plan>,
        keys: Vec<KeyText>,
        as_of: Option<i64>,
    ) -> Result<FeatureAnswer, RequestError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.lock().waiting.push((FeatureRequest::new(plan, keys, as_of), sender));
        receiver.await.map_err(|_| RequestError::Unavailable("the request has ended".to_owned()))
    }

    /// Counts the keys and values that a field asks for. Fails if all fields together exceed the limits of one request.
    pub fn admit(&self, keys: usize, values: usize) -> Result<(), RequestError> {
        let mut queue = self.queue.lock();
        queue.keys = queue.keys.saturating_add(keys);
        queue.values = queue.values.saturating_add(values);
        let Limits { max_keys, max_values, .. } = self.limits;
        for (count, what, most) in [(queue.keys, "keys", max_keys), (queue.values, "values", max_values)] {
            if count > most {
                let error = format!("{count} {what} in one request; the most is {most}");
                return Err(RequestError::invalid("keys", error));
            }
        }
        Ok(())
    }

    /// How many reads are queued.
    fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Runs an execution to its end. Reads the stores whenever it can go on only with features. All reads must
    /// end within `budget`, counted from the start of the execution.
    pub async fn run<T>(&self, server: &FeatureServer, budget: Duration, execution: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let mut execution = pin!(execution);
        loop {
            // A poll lets each resolver run as far as it can. If a poll queues a read, another poll may queue more. If
            // it queues none and reads are queued, all resolvers wait for the stores.
            let ended = poll_fn(|context| {
                loop {
                    let before = self.waiting();
                    match execution.as_mut().poll(context) {
                        Poll::Ready(ended) => return Poll::Ready(Some(ended)),
                        Poll::Pending if self.waiting() > before => {}
                        Poll::Pending if before > 0 => return Poll::Ready(None),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            });
            if let Some(ended) = ended.await {
                return ended;
            }
            self.answer(server, budget.saturating_sub(begun.elapsed())).await;
        }
    }

    /// Makes all queued reads within `deadline` from now, and gives each resolver its answer.
    async fn answer(&self, server: &FeatureServer, deadline: Duration) {
        let begun = Instant::now();
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        let (mut requests, waiting): (Vec<FeatureRequest>, Vec<_>) = waiting.into_iter().unzip();
        requests.iter_mut().for_each(|request| request.deadline = Some(deadline));
        let answers = server.repository.read_all(&requests).await;
        server.endpoints.graphql.record_read(begun.elapsed());
        for (sender, answer) in waiting.into_iter().zip(answers) {
            // A resolver that has ended needs no answer.
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
    fn limits_apply_to_the_whole_request() {
        let limits = Limits { max_keys: 10, max_values: 50, ..Config::parse_from(["feature-server"]).limits };
        let batch = Batch::new(limits);
        assert_eq!(batch.admit(6, 30), Ok(()));
        assert!(batch.admit(3, 30).unwrap_err().to_string().starts_with("60 values"));
        assert!(batch.admit(2, 0).unwrap_err().to_string().starts_with("11 keys"));
    }
}
