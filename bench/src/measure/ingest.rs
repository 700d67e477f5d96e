//! Events/s into the log: `ingest` beside a forwarder that receives the same events already split into fields.

use std::net::SocketAddr;
use std::sync::Arc;

use millrace_common::clock::now_ms;
use millrace_devstack::services::ServiceKind;

use crate::bare::Peer;
use crate::config::Scale;
use crate::cpu::Processes;
use crate::http1::{HttpConnection, post};
use crate::installation::Installation;
use crate::journey::{Purchase, Purchases};
use crate::load::{InFlight, Requests, closed};
use crate::report::{Aim, Report, Round, Row};
use crate::stores::{BenchStores, address};

const BATCH: usize = 500;
const SINGLE_CONNECTIONS: usize = 64;
/// Enough batches in flight that the server never waits for the load.
const BATCH_CONNECTIONS: usize = 8;
/// The namespace of the peer's keys.
const BARE: &str = "bare";

/// Single events and batches.
pub async fn run(stores: &BenchStores, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let installation = Installation::create(stores, "ingest").await?;
    let purchases: Vec<Purchase> = Purchases::new(scale.bodies, 0, now_ms()).collect();
    let single = Row::new("ingest, one event per request", "events/s", "axum → XADD", Some(Aim::Ratio(0.8)));
    report.add(measure(&installation, scale, single, &purchases, 1, SINGLE_CONNECTIONS).await?);
    let batched = Row::new("ingest, batches of 500", "events/s", "axum → XADD", Some(Aim::AtLeast(300_000.0)));
    report.add(measure(&installation, scale, batched, &purchases, BATCH, BATCH_CONNECTIONS).await?);
    installation.remove().await
}

async fn measure(
    installation: &Installation<'_>,
    scale: &Scale,
    mut row: Row,
    purchases: &[Purchase],
    batch: usize,
    connections: usize,
) -> anyhow::Result<Row> {
    let stores = installation.stores;
    let (ours, bare) = (ours(purchases, batch), bare(purchases, batch, installation.partitions()));
    let side = Side { scale, batch, connections };
    for _ in 0..scale.rounds {
        let mut service = installation.start_ready(ServiceKind::Ingest)?;
        let processes = stores.processes(service.pid());
        row.ours.push(side.round(address(&service.url())?, &ours, &processes).await?);
        service.stop()?;
        installation.empty_log().await?;
        stores.settle().await?;

        let peer = Peer::start("forwarder", stores.stack.redis_url(), BARE, &[])?;
        let processes = stores.processes(Some(peer.pid()));
        row.bare.push(side.round(peer.address, &bare, &processes).await?);
        drop(peer);
        stores.delete(BARE).await?;
        stores.settle().await?;
        row.progress();
    }
    Ok(row)
}

struct Side<'s> {
    scale: &'s Scale,
    batch: usize,
    connections: usize,
}

impl Side<'_> {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    async fn round(&self, to: SocketAddr, requests: &Requests, processes: &Processes) -> anyhow::Result<Round> {
        let run = |time| {
            let connect = async move || HttpConnection::open(to).await;
            closed(connect, requests.clone(), InFlight::one_each(self.connections), time)
        };
        run(self.scale.warm).await?;
        let before = processes.read();
        let load = run(self.scale.measured).await?;
        let events = load.requests as f64 * self.batch as f64;
        let cpu = processes.per_million(&before, events);
        Ok(Round::of(events / load.seconds, cpu).with(&load.latencies))
    }
}

fn ours(purchases: &[Purchase], batch: usize) -> Requests {
    let body = |some: &[Purchase]| {
        let events: Vec<String> = some.iter().map(Purchase::json).collect();
        if batch == 1 { events.concat() } else { format!("[{}]", events.join(",")) }
    };
    Arc::new(purchases.chunks(batch).map(|some| post("/v1/events", "application/json", &body(some))).collect())
}

fn bare(purchases: &[Purchase], batch: usize, partitions: u16) -> Requests {
    let body =
        |some: &[Purchase]| some.iter().map(|purchase| purchase.split(partitions)).collect::<Vec<_>>().join("\n");
    Arc::new(purchases.chunks(batch).map(|some| post("/", "text/plain", &body(some))).collect())
}
