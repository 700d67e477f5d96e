//! Sends a plan over HTTP: events with one key stay in order because they share a sender, each sender has one request
//! in flight, and a batch is settled before the next one goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::{Answer, Batch, Next};
use super::error::ReplayError;
use super::plan::PlannedEvent;
use super::rejects::Rejects;

/// A request's body stays below this; ingest takes 16 MiB.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// One request; ingest's own work is bounded far below.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

/// Where and how fast.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// `http://host:port` of ingest.
    pub url: String,
    /// Events per second over all senders; none is as fast as ingest takes them.
    pub rate: Option<f64>,
    /// The most events in a request.
    pub batch: usize,
    /// How many senders.
    pub concurrency: usize,
    /// How long one batch is tried.
    pub give_up_after: Duration,
}

/// What has happened so far, readable while it happens.
#[derive(Debug, Default)]
pub struct Tally {
    sent: AtomicU64,
    accepted: AtomicU64,
    resent: AtomicU64,
    by_mapping: Mutex<BTreeMap<usize, Outcome>>,
}

/// How a mapping's events fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the log.
    pub accepted: u64,
    /// Refused by ingest.
    pub rejected: u64,
}

impl Tally {
    /// Events that have settled: accepted or rejected.
    pub fn settled(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Events in the log.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Events sent again though they may have been accepted before.
    pub fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    /// How each mapping's events fared.
    pub fn by_mapping(&self) -> BTreeMap<usize, Outcome> {
        self.by_mapping.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, events: &[PlannedEvent], batch: &Batch) {
        self.sent.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.accepted.fetch_add(batch.accepted(), Ordering::Relaxed);
        self.resent.fetch_add(batch.resent(), Ordering::Relaxed);
        let mut by_mapping = self.by_mapping.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            by_mapping.entry(event.mapping).or_default().accepted += 1;
        }
        for event in batch.rejections().iter().filter_map(|rejection| events.get(rejection.index)) {
            let outcome = by_mapping.entry(event.mapping).or_default();
            outcome.accepted -= 1;
            outcome.rejected += 1;
        }
    }
}

/// Sends all events; stops at the first failure that no retry cures.
pub async fn send(
    events: Vec<PlannedEvent>,
    options: &SendOptions,
    tally: Arc<Tally>,
    rejects: Arc<Rejects>,
) -> Result<(), ReplayError> {
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).tcp_nodelay(true).no_proxy().build();
    let client = client.map_err(|error| ReplayError::Options(format!("no HTTP client: {error}")))?;
    let start = Instant::now();
    let mut senders = JoinSet::new();
    for shard in shards(events, options.concurrency) {
        let sender = Sender {
            client: client.clone(),
            endpoint: format!("{}/v1/events", options.url.trim_end_matches('/')),
            options: options.clone(),
            start,
            tally: Arc::clone(&tally),
            rejects: Arc::clone(&rejects),
        };
        senders.spawn(async move { sender.run(shard).await });
    }
    while let Some(finished) = senders.join_next().await {
        finished.map_err(|error| ReplayError::Options(format!("a sender stopped: {error}")))??;
    }
    Ok(())
}

/// Events of one sender, each with its place among all, which decides when it is due.
type Shard = Vec<(usize, PlannedEvent)>;

fn shards(events: Vec<PlannedEvent>, count: usize) -> Vec<Shard> {
    let mut shards: Vec<Shard> = (0..count.max(1)).map(|_| Vec::new()).collect();
    for (place, event) in events.into_iter().enumerate() {
        let shard = usize::try_from(event.key_hash % count.max(1) as u64).unwrap_or(0);
        shards[shard].push((place, event));
    }
    shards
}

struct Sender {
    client: reqwest::Client,
    endpoint: String,
    options: SendOptions,
    start: Instant,
    tally: Arc<Tally>,
    rejects: Arc<Rejects>,
}

impl Sender {
    async fn run(&self, shard: Shard) -> Result<(), ReplayError> {
        let mut rest = shard.into_iter().peekable();
        while let Some((place, _)) = rest.peek() {
            sleep_until(self.due(*place)).await;
            let now = Instant::now();
            let (mut events, mut bytes) = (Vec::with_capacity(self.options.batch), 0);
            while let Some((_, event)) = rest.next_if(|(place, event)| {
                let fits = events.len() < self.options.batch && bytes + event.json_len() <= MAX_BODY;
                events.is_empty() || (fits && self.due(*place) <= now)
            }) {
                bytes += event.json_len();
                events.push(event);
            }
            self.post(&events).await?;
        }
        Ok(())
    }

    /// When the event at that place among all is due: the rate does not wait for answers.
    fn due(&self, place: usize) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "a place is far below 2^53")]
        match self.options.rate {
            Some(rate) => self.start + Duration::from_secs_f64(place as f64 / rate),
            None => self.start,
        }
    }

    async fn post(&self, events: &[PlannedEvent]) -> Result<(), ReplayError> {
        let mut batch = Batch::new(events.len());
        let (first, mut back_off) = (Instant::now(), FIRST_BACK_OFF);
        loop {
            let body = json_array(batch.attempt().iter().filter_map(|index| events.get(*index)));
            match batch.settle(self.request(body).await) {
                Next::Done => break,
                Next::Fail(message) => return Err(ReplayError::Refused { url: self.endpoint.clone(), message }),
                Next::Retry { reason, .. } if first.elapsed() + back_off > self.options.give_up_after => {
                    let (url, seconds) = (self.endpoint.clone(), first.elapsed().as_secs());
                    return Err(ReplayError::GaveUp { url, seconds, message: reason });
                }
                Next::Retry { after, .. } => {
                    sleep(after.unwrap_or_default().max(back_off).min(self.options.give_up_after)).await;
                    back_off = (back_off * 2).min(LONGEST_BACK_OFF);
                }
            }
        }
        self.tally.add(events, &batch);
        self.rejects.add(events, batch.rejections())
    }

    async fn request(&self, body: String) -> Answer {
        let request = self.client.post(&self.endpoint).header("content-type", "application/json").body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Answer::NotSent(chain(&error)),
            Err(error) => return Answer::Lost(chain(&error)),
        };
        let status = response.status().as_u16();
        let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        match response.text().await {
            Ok(body) => Answer::Http { status, retry_after: seconds.map(Duration::from_secs), body },
            Err(error) => Answer::Lost(chain(&error)),
        }
    }
}

fn json_array<'e>(events: impl Iterator<Item = &'e PlannedEvent>) -> String {
    let mut body = String::from("[");
    for event in events {
        if body.len() > 1 {
            body.push(',');
        }
        event.write_json(&mut body);
    }
    body.push(']');
    body
}

/// An error with its causes: reqwest's own message leaves out the reason.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
