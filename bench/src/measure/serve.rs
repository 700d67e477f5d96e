//! Reads/s of the feature server and how long they take: its APIs beside each other, and beside a reader that returns the same
//! slots as they are stored.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use millrace_common::clock::now_ms;
use millrace_devstack::services::ServiceKind;
use millrace_feature_server::proto::millrace_v1::selection::By;
use millrace_feature_server::proto::millrace_v1::{
    BatchGetFeaturesRequest, FeatureList, GetFeaturesRequest, Selection,
};
use prost::Message;
use serde_json::json;

use crate::bare::Peer;
use crate::config::Scale;
use crate::cpu::Processes;
use crate::grpc::{BlockingGrpc, GrpcConnection, call};
use crate::http1::{BlockingHttp, HttpConnection, get, post};
use crate::installation::Installation;
use crate::journey::Purchases;
use crate::load::{Blocking, InFlight, Load, Requests, closed, open};
use crate::report::{Aim, Report, Round, Row};
use crate::stores::address;

/// Features of three views of a household. All are in Redis, so the peer can read them too.
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
/// A service with features from Redis and MongoDB, and one with features from ClickHouse too. They have no peer.
const PROFILE: &str = "basket_model@1";
const ON_DEMAND: &str = "basket_model@2";
const CONNECTIONS: usize = 32;
/// Calls in flight on each gRPC connection: gRPC clients share a connection between many callers.
const STREAMS: usize = 8;
const RATE: f64 = 5_000.0;
/// More connections than ever wait at that rate, so that no answer delays a request that is due.
const OPEN_CONNECTIONS: usize = 64;
const KEYS: usize = 100;
const BATCH_CONNECTIONS: usize = 8;

/// One key as fast as possible and at a constant rate, over each API; then 100 keys; then services of slower stores.
pub async fn run(filled: &Installation<'_>, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let households: Vec<usize> = Purchases::new(20_000, 0, now_ms()).map(|purchase| purchase.household).collect();
    let reads = Reads { filled, scale };
    let (flat_out, paced) = (Shape::Closed(CONNECTIONS), Shape::Open(RATE));
    let bare = Beside::Bare(bare_one(&households));
    let rest = Asked::Http(one(&households));

    let row = Row::new("REST, 8 features of one key", "requests/s", "axum → HMGET", Some(Aim::Ratio(0.6)));
    report.add(reads.compare(row, &rest, &bare, flat_out).await?);
    let row = Row::new("REST, the same at 5,000 requests/s", "requests/s", "axum → HMGET", Some(Aim::P99(10.0)));
    report.add(reads.compare(row, &rest, &bare, paced).await?);

    let rest = Beside::Api(rest);
    for (api, asked, aim) in [
        ("gRPC", Asked::Grpc(one_call(&households)), Some(Aim::Ratio(1.0))),
        ("GraphQL", Asked::Http(one_query(&households)), None),
    ] {
        let row = Row::new(format!("{api}, 8 features of one key"), "requests/s", "REST", aim);
        report.add(reads.compare(row, &asked, &rest, flat_out).await?);
        let aim = Some(Aim::P99(10.0));
        let row = Row::new(format!("{api}, the same at 5,000 requests/s"), "requests/s", "REST", aim);
        report.add(reads.compare(row, &asked, &rest, paced).await?);
    }

    let row = Row::new("REST, 8 features of 100 keys", "requests/s", "axum → HMGET", None);
    let (ours, bare) = (Asked::Http(many(&households)), Beside::Bare(bare_many(&households)));
    report.add(reads.compare(row, &ours, &bare, Shape::Closed(BATCH_CONNECTIONS)).await?);

    let row = Row::new("gRPC, the same in a batch", "requests/s", "REST", Some(Aim::Ratio(1.0)));
    let (calls, rest) = (Asked::Grpc(many_call(&households)), Beside::Api(ours));
    report.add(reads.compare(row, &calls, &rest, Shape::Closed(BATCH_CONNECTIONS)).await?);

    let renewing = scale.past_the_cache();
    let in_stride = Reads { filled, scale: &renewing };
    for (service, stores, aim) in [(PROFILE, "Redis and a profile", 20.0), (ON_DEMAND, "all three stores", 50.0)] {
        let asked = Asked::Http(of_service(&households, service));
        let named = |how: &str, aim| Row::new(format!("REST, a service of {stores}{how}"), "requests/s", "", aim);
        let row = named("", None);
        report.add(reads.compare(row, &asked, &Beside::Nothing, flat_out).await?);
        let row = named(" at 5,000 requests/s, soon after its start", None);
        report.add(reads.compare(row, &asked, &Beside::Nothing, paced).await?);
        let row = named(" at 5,000 requests/s", Some(Aim::P99(aim)));
        report.add(in_stride.compare(row, &asked, &Beside::Nothing, paced).await?);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Shape {
    Closed(usize),
    Open(f64),
}

/// Requests and their protocol.
enum Asked {
    Http(Requests),
    Grpc(Requests),
}

/// The other side of a comparison.
enum Beside {
    Nothing,
    /// A bare reader.
    Bare(Requests),
    /// Another API of the feature server.
    Api(Asked),
}

struct Reads<'f, 's> {
    filled: &'f Installation<'s>,
    scale: &'f Scale,
}

impl Reads<'_, '_> {
    async fn compare(&self, mut row: Row, asked: &Asked, beside: &Beside, shape: Shape) -> anyhow::Result<Row> {
        if !row.what.contains(&self.scale.only) {
            return Ok(row);
        }
        for _ in 0..self.scale.rounds {
            row.ours.push(self.ours(asked, shape).await?);
            match beside {
                Beside::Nothing => {}
                Beside::Bare(requests) => row.bare.push(self.bare(requests, shape).await?),
                Beside::Api(asked) => row.bare.push(self.ours(asked, shape).await?),
            }
            row.progress();
        }
        Ok(row)
    }

    async fn ours(&self, asked: &Asked, shape: Shape) -> anyhow::Result<Round> {
        let mut service = self.filled.start_ready(ServiceKind::FeatureServer)?;
        let grpc = service.grpc_address().context("the feature server has no gRPC port")?;
        let to = match asked {
            Asked::Http(_) => address(&service.url())?,
            Asked::Grpc(_) => grpc.parse()?,
        };
        let round = self.round(to, asked, shape, &self.filled.stores.processes(service.pid())).await?;
        service.stop()?;
        Ok(round)
    }

    async fn bare(&self, requests: &Requests, shape: Shape) -> anyhow::Result<Round> {
        let stores = self.filled.stores;
        let peer = Peer::start("reader", stores.stack.redis_url(), self.filled.namespace(), &VIEWS)?;
        let asked = Asked::Http(requests.clone());
        self.round(peer.address, &asked, shape, &stores.processes(Some(peer.pid()))).await
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    async fn round(&self, to: SocketAddr, asked: &Asked, shape: Shape, who: &Processes) -> anyhow::Result<Round> {
        load(to, asked, shape, self.scale.warm).await?;
        let before = who.read();
        let load = load(to, asked, shape, self.scale.measured).await?;
        let cpu = who.per_million(&before, load.requests as f64);
        Ok(Round::of(load.rate(), cpu).with(&load.latencies))
    }
}

async fn load(to: SocketAddr, asked: &Asked, shape: Shape, time: Duration) -> anyhow::Result<Load> {
    match (shape, asked) {
        (Shape::Closed(connections), Asked::Http(requests)) => {
            let connect = async move || HttpConnection::open(to).await;
            closed(connect, requests.clone(), InFlight::one_each(connections), time).await
        }
        (Shape::Closed(all), Asked::Grpc(calls)) => {
            let connect = async move || GrpcConnection::open(to).await;
            let in_flight = InFlight { connections: all / STREAMS, each: STREAMS };
            closed(connect, calls.clone(), in_flight, time).await
        }
        (Shape::Open(rate), Asked::Http(requests) | Asked::Grpc(requests)) => {
            let client = |_| match asked {
                Asked::Http(_) => BlockingHttp::open(to).map(Blocking::Http),
                Asked::Grpc(_) => BlockingGrpc::open(to).map(Blocking::Grpc),
            };
            let clients = (0..OPEN_CONNECTIONS).map(client).collect::<Result<_, _>>().context("failed to connect")?;
            open(clients, requests.clone(), rate, time).await
        }
    }
}

fn one(households: &[usize]) -> Requests {
    let features = FEATURES.join(",");
    let path = |household: &usize| get(&format!("/v1/features/household/{household}?features={features}"));
    Arc::new(households.iter().map(path).collect())
}

fn selection() -> Option<Selection> {
    let names = FEATURES.iter().map(|name| (*name).to_owned()).collect();
    Some(Selection { by: Some(By::Features(FeatureList { names })) })
}

fn many_call(households: &[usize]) -> Requests {
    let request = |keys: &[usize]| {
        let (entity, keys) = ("household".to_owned(), keys.iter().map(usize::to_string).collect());
        let request = BatchGetFeaturesRequest { entity, keys, selection: selection(), ..Default::default() };
        call("/millrace.v1.FeatureService/BatchGetFeatures", &request.encode_to_vec())
    };
    Arc::new(households.chunks_exact(KEYS).map(request).collect())
}

fn one_call(households: &[usize]) -> Requests {
    let request = |household: &usize| {
        let (entity, key) = ("household".to_owned(), household.to_string());
        let request = GetFeaturesRequest { entity, key, selection: selection(), ..Default::default() };
        call("/millrace.v1.FeatureService/GetFeatures", &request.encode_to_vec())
    };
    Arc::new(households.iter().map(request).collect())
}

fn one_query(households: &[usize]) -> Requests {
    let query = "query($ids: [ID!]!, $names: [String!]!) { getFeatures(entityIds: $ids, featureNames: $names) { entityId features } }";
    let body = |household: &usize| {
        let body = json!({ "query": query, "variables": { "ids": [household], "names": FEATURES } });
        post("/graphql", "application/json", &body.to_string())
    };
    Arc::new(households.iter().map(body).collect())
}

fn of_service(households: &[usize], service: &str) -> Requests {
    let path = |household: &usize| get(&format!("/v1/features/household/{household}?service={service}"));
    Arc::new(households.iter().map(path).collect())
}

fn many(households: &[usize]) -> Requests {
    let body = |keys: &[usize]| {
        let body = json!({ "entity": "household", "keys": keys, "features": FEATURES });
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
