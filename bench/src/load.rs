//! Loads. *Closed*: each connection sends its next request when it has the answer to an earlier one, which shows throughput.
//! *Open*: requests leave at a constant rate, also while earlier ones wait, and their time counts from when they were due,
//! which shows how long callers wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::connection::Connection;
use crate::grpc::BlockingGrpc;
use crate::http1::{BlockingHttp, accepted};
use crate::latencies::{Latencies, micros};

/// Requests that are sent over and over, in turn.
pub type Requests = Arc<Vec<Vec<u8>>>;

/// The result of a load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Requests answered.
    pub requests: u64,
    /// Seconds that the load took.
    pub seconds: f64,
    /// How long each request took.
    pub latencies: Latencies,
}

impl Load {
    /// From the times that each sender measured.
    fn new(parts: Vec<Vec<u32>>, seconds: f64) -> Self {
        let latencies = Latencies::of(parts.concat());
        Self { requests: latencies.len() as u64, seconds, latencies }
    }

    /// Requests per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// How many connections a closed loop has, and how many requests are in flight on each.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// Connections.
    pub connections: usize,
    /// Requests of each.
    pub each: usize,
}

impl InFlight {
    /// One request in flight on each connection.
    pub fn one_each(connections: usize) -> Self {
        Self { connections, each: 1 }
    }
}

/// A closed loop, on one thread of its own: `epoll` serves many ready connections at a time.
pub async fn closed<C: Connection>(
    connect: impl AsyncFn() -> anyhow::Result<C> + Send + 'static,
    requests: Requests,
    in_flight: InFlight,
    time: Duration,
) -> anyhow::Result<Load> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connections = Vec::with_capacity(in_flight.connections);
            for _ in 0..in_flight.connections {
                connections.push(connect().await.context("failed to connect")?);
            }
            let begun = Instant::now();
            let one = |(first, connection)| {
                let turns = Turns { requests: requests.clone(), next: first, step: in_flight.connections };
                tokio::spawn(one_closed(connection, turns, in_flight.each, begun + time))
            };
            let tasks: Vec<_> = connections.into_iter().enumerate().map(one).collect();
            let mut parts = Vec::with_capacity(tasks.len());
            for task in tasks {
                parts.push(task.await??);
            }
            Ok(Load::new(parts, begun.elapsed().as_secs_f64()))
        })
    };
    tokio::task::spawn_blocking(run).await?
}

/// The requests of one of several senders: each takes every `step`th.
struct Turns {
    requests: Requests,
    next: usize,
    step: usize,
}

impl Turns {
    fn take(&mut self) -> &[u8] {
        let request = &self.requests[self.next % self.requests.len()];
        self.next += self.step;
        request
    }
}

async fn one_closed(
    mut connection: impl Connection,
    mut turns: Turns,
    in_flight: usize,
    until: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut sent = HashMap::with_capacity(in_flight);
    let begun = Instant::now();
    for _ in 0..in_flight {
        sent.insert(connection.begin(turns.take()), begun);
    }
    let (mut took, mut answered) = (Vec::new(), Vec::new());
    while !sent.is_empty() {
        connection.answered(&mut answered).await?;
        let now = Instant::now();
        for number in answered.drain(..) {
            let since = sent.remove(&number).context("an answer to no request")?;
            took.push(micros(now - since));
            if now < until {
                sent.insert(connection.begin(turns.take()), now);
            }
        }
    }
    Ok(took)
}

/// A connection of a thread, which has one request in flight.
pub enum Blocking {
    /// HTTP/1.1.
    Http(BlockingHttp),
    /// gRPC.
    Grpc(BlockingGrpc),
}

impl Blocking {
    fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Http(connection) => {
                let (status, body) = connection.ask(request)?;
                accepted(status, body)
            }
            Self::Grpc(connection) => connection.ask(request),
        }
    }
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

/// When one of `step` senders sends. The iterator waits for each instant, then returns the request's number and the
/// instant.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_share_the_pace() {
        let pace = |first| Pace { begun: Instant::now(), rate: 1e6, first, step: 2, time: Duration::from_micros(5) };
        let numbers = |first| pace(first).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!((numbers(0), numbers(1)), (vec![0, 2, 4], vec![1, 3]));
    }
}
