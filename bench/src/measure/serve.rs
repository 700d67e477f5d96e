//! Reads/s of the feature server and how long they take, beside a reader that returns the same slots as stored.

use std::net::SocketAddr;
use std::sync::Arc;

use millrace_common::clock::now_ms;
use millrace_devstack::services::ServiceKind;

use crate::bare::Peer;
use crate::config::Scale;
use crate::cpu::Processes;
use crate::http1::{get, post};
use crate::journey::Purchases;
use crate::line::{Installation, address};
use crate::load::{Load, Requests, closed, open};
use crate::report::{Aim, Report, Round, Row};

/// Three views of a household, all of them in Redis: what the peer can read too.
const FEATURES: [&str; 8] = [
    "household_spend:spend_1h",
    "household_spend:spend_7d",
    "household_spend:spend_30d",
    "household_spend:session_lines",
    "household_spend:recent_products",
    "household_taste:last_department",
    "household_taste:products_30d",
    "household_coupons:redemptions_30d",
];
const VIEWS: [&str; 3] = ["household_spend@1", "household_taste@1", "household_coupons@1"];
/// A service of features from Redis and MongoDB; without a peer.
const SERVICE: &str = "basket_model";
const CONNECTIONS: usize = 32;
const RATE: f64 = 5_000.0;
/// More than are ever waiting at that rate, so that no answer holds up a request that is due.
const OPEN_CONNECTIONS: usize = 64;
const KEYS: usize = 100;
const BATCH_CONNECTIONS: usize = 8;

/// One key flat out and at a constant rate, then 100 keys.
pub async fn run(filled: &Installation<'_>, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let households: Vec<usize> = Purchases::new(20_000, 0, now_ms()).map(|purchase| purchase.household).collect();
    let reads = Reads { filled, scale };

    let row = Row::new("serving, 8 features of one key", "requests/s", "axum → HMGET", Some(Aim::Ratio(0.6)));
    let (ours, bare) = (one(&households), bare_one(&households));
    report.add(reads.compare(row, &ours, Some(&bare), Shape::Closed(CONNECTIONS)).await?);
    let row = Row::new("serving, the same at 5,000 requests/s", "requests/s", "axum → HMGET", None);
    report.add(reads.compare(row, &ours, Some(&bare), Shape::Open(RATE)).await?);

    let row = Row::new("serving, 8 features of 100 keys", "requests/s", "axum → HMGET", None);
    let (ours, bare) = (many(&households), bare_many(&households));
    report.add(reads.compare(row, &ours, Some(&bare), Shape::Closed(BATCH_CONNECTIONS)).await?);

    let row = Row::new("serving, a service from Redis and MongoDB", "requests/s", "", None);
    report.add(reads.compare(row, &service(&households), None, Shape::Closed(CONNECTIONS)).await?);
    Ok(())
}

#[derive(Clone, Copy)]
enum Shape {
    Closed(usize),
    Open(f64),
}

struct Reads<'f, 'l> {
    filled: &'f Installation<'l>,
    scale: &'f Scale,
}

impl Reads<'_, '_> {
    async fn compare(
        &self,
        mut row: Row,
        ours: &Requests,
        bare: Option<&Requests>,
        shape: Shape,
    ) -> anyhow::Result<Row> {
        let line = self.filled.line;
        for _ in 0..self.scale.rounds {
            let mut service = self.filled.start_ready(ServiceKind::FeatureServer)?;
            let to = address(&service.url())?;
            row.ours.push(self.round(to, ours, shape, &line.processes(service.pid())).await?);
            service.stop()?;
            if let Some(bare) = bare {
                let peer = Peer::start("reader", line.stack.redis_url(), self.filled.namespace(), &VIEWS)?;
                row.bare.push(self.round(peer.address, bare, shape, &line.processes(Some(peer.pid()))).await?);
            }
            row.progress();
        }
        Ok(row)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    async fn round(&self, to: SocketAddr, asked: &Requests, shape: Shape, who: &Processes) -> anyhow::Result<Round> {
        load(to, asked, shape, self.scale.warm).await?;
        let before = who.read();
        let load = load(to, asked, shape, self.scale.measured).await?;
        let cpu = who.per_million(&before, load.requests as f64);
        Ok(Round::of(load.rate(), cpu).with(&load.latencies))
    }
}

async fn load(to: SocketAddr, asked: &Requests, shape: Shape, time: std::time::Duration) -> anyhow::Result<Load> {
    match shape {
        Shape::Closed(connections) => closed(to, asked.clone(), connections, time).await,
        Shape::Open(rate) => open(to, asked.clone(), rate, OPEN_CONNECTIONS, time).await,
    }
}

fn one(households: &[usize]) -> Requests {
    let features = FEATURES.join(",");
    let path = |household: &usize| get(&format!("/v1/features/household/{household}?features={features}"));
    Arc::new(households.iter().map(path).collect())
}

fn service(households: &[usize]) -> Requests {
    let path = |household: &usize| get(&format!("/v1/features/household/{household}?service={SERVICE}"));
    Arc::new(households.iter().map(path).collect())
}

fn many(households: &[usize]) -> Requests {
    let body = |keys: &[usize]| {
        let body = serde_json::json!({ "entity": "household", "keys": keys, "features": FEATURES });
        post("/v1/features", "application/json", &body.to_string())
    };
    Arc::new(households.chunks_exact(KEYS).map(body).collect())
}

fn bare_one(households: &[usize]) -> Requests {
    Arc::new(households.iter().map(|household| get(&format!("/{household}"))).collect())
}

fn bare_many(households: &[usize]) -> Requests {
    let lines = |keys: &[usize]| keys.iter().map(usize::to_string).collect::<Vec<_>>().join("\n");
    Arc::new(households.chunks_exact(KEYS).map(|keys| post("/", "text/plain", &lines(keys))).collect())
}
