//! Sends a plan over HTTP. Events with the same key stay in order: they share a sender, a sender has one request in
//! flight, and it settles a batch before it sends the next one.

use std::sync::Arc;
use std::time::Duration;

use millrace_common::backoff::BackOff;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::{BatchNext, BatchProgress, IngestReply};
use super::error::ReplayError;
use super::plan::PlannedEvent;
use super::rejects::RejectLog;
use super::tally::Tally;

/// The largest request body, in bytes. Ingest takes 16 MiB.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// How long one request may take. Ingest's own work is bounded far below this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The delays between attempts at a request.
const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Where to send and how fast.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// `http://host:port` of ingest.
    pub url: String,
    /// Events per second over all senders; None means as fast as ingest takes them.
    pub rate: Option<f64>,
    /// The most events in a request.
    pub batch: usize,
    /// How many senders.
    pub concurrency: usize,
    /// How long one batch is tried.
    pub give_up_after: Duration,
}

/// Sends all events. Stops at the first failure that a retry cannot cure.
pub async fn send(
    events: Vec<PlannedEvent>,
    options: &SendOptions,
    tally: Arc<Tally>,
    rejects: Arc<RejectLog>,
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

/// The events of one sender, each with its index among all events, which decides when it is due.
type Shard = Vec<(usize, PlannedEvent)>;

fn shards(events: Vec<PlannedEvent>, count: usize) -> Vec<Shard> {
    let mut shards: Vec<Shard> = (0..count.max(1)).map(|_| Vec::new()).collect();
    for (index, event) in events.into_iter().enumerate() {
        let shard = usize::try_from(event.key_hash % count.max(1) as u64).unwrap_or(0);
        shards[shard].push((index, event));
    }
    shards
}

struct Sender {
    client: reqwest::Client,
    endpoint: String,
    options: SendOptions,
    start: Instant,
    tally: Arc<Tally>,
    rejects: Arc<RejectLog>,
}

impl Sender {
    async fn run(&self, shard: Shard) -> Result<(), ReplayError> {
        let mut rest = shard.into_iter().peekable();
        while let Some((index, _)) = rest.peek() {
            sleep_until(self.due(*index)).await;
            let now = Instant::now();
            let (mut events, mut bytes) = (Vec::with_capacity(self.options.batch), 0);
            while let Some((_, event)) = rest.next_if(|(index, event)| {
                let fits = events.len() < self.options.batch && bytes + event.json_len() <= MAX_BODY;
                events.is_empty() || (fits && self.due(*index) <= now)
            }) {
                bytes += event.json_len();
                events.push(event);
            }
            self.post(&events).await?;
        }
        Ok(())
    }

    /// When the event with this index among all is due. The rate does not wait for replies.
    fn due(&self, index: usize) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "an index is far below 2^53")]
        match self.options.rate {
            Some(rate) => self.start + Duration::from_secs_f64(index as f64 / rate),
            None => self.start,
        }
    }

    async fn post(&self, events: &[PlannedEvent]) -> Result<(), ReplayError> {
        let mut batch = BatchProgress::new(events.len());
        let (first, mut back_off) = (Instant::now(), BACK_OFF);
        loop {
            let delay = back_off.next_delay();
            let body = json_array(batch.attempt().iter().filter_map(|index| events.get(*index)));
            match batch.settle(self.request(body).await) {
                BatchNext::Done => break,
                BatchNext::Fail(message) => return Err(ReplayError::Refused { url: self.endpoint.clone(), message }),
                BatchNext::Retry { reason, .. } if first.elapsed() + delay > self.options.give_up_after => {
                    let (url, seconds) = (self.endpoint.clone(), first.elapsed().as_secs());
                    return Err(ReplayError::GaveUp { url, seconds, message: reason });
                }
                BatchNext::Retry { after, .. } => {
                    sleep(after.unwrap_or_default().max(delay).min(self.options.give_up_after)).await;
                }
            }
        }
        self.tally.add(events, &batch);
        self.rejects.add(events, batch.rejections())
    }

    async fn request(&self, body: String) -> IngestReply {
        let request = self.client.post(&self.endpoint).header("content-type", "application/json").body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return IngestReply::NotSent(chain(&error)),
            Err(error) => return IngestReply::Lost(chain(&error)),
        };
        let status = response.status().as_u16();
        let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        match response.text().await {
            Ok(body) => IngestReply::Http { status, retry_after: seconds.map(Duration::from_secs), body },
            Err(error) => IngestReply::Lost(chain(&error)),
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

/// An error with its causes. The message of reqwest alone leaves out the reason.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
