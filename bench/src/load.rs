//! Loads. *Closed*: so many connections, each sends its next request when it has the answer to the last; shows
//! throughput. *Open*: requests leave at a constant rate whatever becomes of earlier ones, and their time counts from
//! when they were due; shows what callers wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::http1::Connection;
use crate::{grpc, http1};

/// Requests that are sent over and over, in turn.
pub type Requests = Arc<Vec<Vec<u8>>>;

/// What came of a load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Requests answered.
    pub requests: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// How long each took.
    pub latencies: Latencies,
}

/// Microseconds, ascending.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

/// A connection of a thread, which sends one request at a time.
pub enum Blocking {
    /// HTTP/1.1.
    Http(http1::Blocking),
    /// gRPC.
    Grpc(grpc::Blocking),
}

impl Blocking {
    fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Http(connection) => {
                connection.ask(request).map_err(Into::into).and_then(|(s, body)| accepted(s, body))
            }
            Self::Grpc(connection) => connection.ask(request),
        }
    }
}

impl Load {
    /// Of the times that each sender saw.
    pub fn new(parts: Vec<Vec<u32>>, seconds: f64) -> Self {
        let latencies = Latencies::of(parts.concat());
        Self { requests: latencies.0.len() as u64, seconds, latencies }
    }

    /// Requests per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

impl Latencies {
    /// Microseconds in any order.
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The time in ms within which this part (0 to 1) of them were done.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    pub fn ms(&self, part: f64) -> f64 {
        let at = (self.0.len() as f64 * part).ceil() as usize;
        self.0.get(at.saturating_sub(1)).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    }
}

/// A closed loop, on one thread of its own: `epoll` serves many ready connections at a time.
pub async fn closed(
    address: SocketAddr,
    requests: Requests,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Load> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut clients = Vec::with_capacity(connections);
            for _ in 0..connections {
                clients.push(Connection::open(address).await.context("failed to connect")?);
            }
            let begun = Instant::now();
            let tasks = clients.into_iter().enumerate().map(|(number, client)| {
                tokio::spawn(one_closed(client, requests.clone(), number, connections, begun + time))
            });
            let tasks: Vec<_> = tasks.collect();
            let mut parts = Vec::with_capacity(connections);
            for task in tasks {
                parts.push(task.await??);
            }
            Ok(Load::new(parts, begun.elapsed().as_secs_f64()))
        })
    };
    tokio::task::spawn_blocking(run).await?
}

async fn one_closed(
    mut client: Connection,
    requests: Requests,
    first: usize,
    step: usize,
    until: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut took = Vec::new();
    let mut next = first;
    let mut sent = Instant::now();
    while sent < until {
        let (status, body) = client.ask(&requests[next % requests.len()]).await?;
        accepted(status, body)?;
        next += step;
        let answered = Instant::now();
        took.push(micros(answered - sent));
        sent = answered;
    }
    Ok(took)
}

/// An open loop of `rate` requests a second. A connection that is late sends at once, and its lateness counts.
pub async fn open(clients: Vec<Blocking>, requests: Requests, rate: f64, time: Duration) -> anyhow::Result<Load> {
    let run = move || {
        let connections = clients.len();
        let begun = Instant::now();
        let requests = &requests;
        let parts = std::thread::scope(|scope| {
            let one = |(number, client)| {
                let pace = Pace { begun, rate, first: number, step: connections, time };
                scope.spawn(move || one_open(client, requests, pace))
            };
            let threads: Vec<_> = clients.into_iter().enumerate().map(one).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked"))).collect()
        });
        let parts: anyhow::Result<Vec<Vec<u32>>> = parts;
        Ok(Load::new(parts?, begun.elapsed().as_secs_f64()))
    };
    tokio::task::spawn_blocking(run).await?
}

fn one_open(mut client: Blocking, requests: &Requests, pace: Pace) -> anyhow::Result<Vec<u32>> {
    let mut took = Vec::new();
    for (number, due) in pace {
        client.ask(&requests[number % requests.len()])?;
        took.push(micros(due.elapsed()));
    }
    Ok(took)
}

/// When one of `step` senders is to send: waits for each instant, then answers it with its number.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When the first request of all is due.
    pub begun: Instant,
    /// Requests a second, of all senders together.
    pub rate: f64,
    /// The number of the next request.
    pub first: usize,
    /// How many senders there are.
    pub step: usize,
    /// For how long.
    pub time: Duration,
}

impl Iterator for Pace {
    type Item = (usize, Instant);

    #[expect(clippy::cast_precision_loss, reason = "request numbers are far below 2^52")]
    fn next(&mut self) -> Option<Self::Item> {
        let after = Duration::from_secs_f64(self.first as f64 / self.rate);
        if after >= self.time {
            return None;
        }
        let (number, due) = (self.first, self.begun + after);
        self.first += self.step;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        Some((number, due))
    }
}

/// A load that is refused measures nothing.
pub fn accepted(status: u16, body: &[u8]) -> anyhow::Result<()> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(body).chars().take(300).collect();
    bail!("a request was answered {status}: {said}")
}

/// A time as latencies have it.
pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_occurred() {
        let latencies = Latencies::of((1..=100).rev().map(|ms| ms * 1_000).collect());
        assert_eq!((latencies.ms(0.5), latencies.ms(0.99), latencies.ms(1.0)), (50.0, 99.0, 100.0));
        assert!(Latencies::default().ms(0.5).is_nan());
    }

    #[test]
    fn senders_share_the_pace() {
        let pace = |first| Pace { begun: Instant::now(), rate: 1e6, first, step: 2, time: Duration::from_micros(5) };
        let numbers = |first| pace(first).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!((numbers(0), numbers(1)), (vec![0, 2, 4], vec![1, 3]));
    }
}
