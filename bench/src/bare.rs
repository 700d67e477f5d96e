//! The peers: the simplest programs that could stand in a service's place, with the same HTTP server, Redis driver, allocator
//! and runtime. They validate nothing, decode nothing and keep none of Millrace's guarantees.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use millrace_common::log::client;
use millrace_common::names::Names;
use millrace_core::partition::{Partition, partition_of};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::net::TcpListener;

use crate::config::{Bare, BareArgs};

/// As many connections as ingest has.
const FORWARDER_CONNECTIONS: usize = 4;
/// As many connections as the feature server has.
const READER_CONNECTIONS: usize = 2;
/// Partitions of the log.
const PARTITIONS: u16 = 8;

/// A peer in a process of its own.
pub struct Peer {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Peer {
    /// Starts this program as that peer. The peer ends when its standard input does, so it always ends with this process.
    pub fn start(peer: &str, redis_url: &str, namespace: &str, views: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", peer, "--redis-url", redis_url, "--namespace", namespace]);
        if !views.is_empty() {
            command.args(["--views", &views.join(",")]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut said)?;
        let address = said.trim().parse().with_context(|| format!("the bare {peer} did not start: {said}"))?;
        Ok(Self { child, address })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The peer holds nothing that could be lost, and a drop cannot report an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a peer until standard input ends.
pub async fn serve(peer: Bare) -> anyhow::Result<()> {
    let (routes, listen) = match peer {
        Bare::Forwarder(args) => (forwarder(&args).await?, args.listen),
        Bare::Reader(args) => (reader(&args).await?, args.listen),
    };
    let listener = TcpListener::bind(listen).await?;
    println!("{}", listener.local_addr()?);
    // On a thread of its own, because a blocking read would delay the end of the runtime.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    Ok(axum::serve(listener, routes).await?)
}

/// Connections to Redis that take turns.
struct ConnectionPool {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
}

impl ConnectionPool {
    async fn open(url: &str, count: usize) -> anyhow::Result<Self> {
        let client = client(url)?;
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(client.get_multiplexed_async_connection().await?);
        }
        Ok(Self { connections, next: AtomicUsize::new(0) })
    }

    async fn send(&self, pipeline: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut connection = self.connections[turn % self.connections.len()].clone();
        connection.send_packed_commands(pipeline, 0, count).await
    }
}

struct Forwarder {
    pool: ConnectionPool,
    streams: Vec<String>,
}

/// `POST /` with a line per event: the partition, then names and values, between tabs. Each event is an XADD, and all go in
/// one pipeline.
async fn forwarder(args: &BareArgs) -> anyhow::Result<Router> {
    let names = Names::new(&args.namespace);
    let streams = (0..PARTITIONS).map(|number| names.events(Partition(number))).collect();
    let state = Forwarder { pool: ConnectionPool::open(&args.redis_url, FORWARDER_CONNECTIONS).await?, streams };
    Ok(Router::new().route("/", post(forward)).with_state(Arc::new(state)))
}

async fn forward(State(state): State<Arc<Forwarder>>, body: String) -> Result<(StatusCode, String), StatusCode> {
    let mut pipeline = Pipeline::new();
    let mut count = 0;
    for line in body.lines() {
        let mut words = line.split('\t');
        let partition = words.next().and_then(|number| number.parse::<usize>().ok());
        let stream = partition.and_then(|number| state.streams.get(number)).ok_or(StatusCode::BAD_REQUEST)?;
        let command = pipeline.cmd("XADD").arg(stream).arg("*");
        words.for_each(|word| {
            command.arg(word);
        });
        count += 1;
    }
    let ids = state.pool.send(&pipeline, count).await.map_err(unavailable)?;
    if ids.iter().any(|id| !matches!(id, Value::BulkString(_))) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok((StatusCode::ACCEPTED, format!(r#"{{"accepted":{count}}}"#)))
}

struct Reader {
    pool: ConnectionPool,
    names: Names,
    /// Fields by the partition of the key.
    fields: Vec<Vec<String>>,
}

/// `GET /{household}`, and `POST /` with one household per line. The answer is the wanted slots as they are stored.
async fn reader(args: &BareArgs) -> anyhow::Result<Router> {
    let of_partition = |number: u16| args.views.iter().map(|view| format!("{view}|{number}")).collect();
    let state = Reader {
        pool: ConnectionPool::open(&args.redis_url, READER_CONNECTIONS).await?,
        names: Names::new(&args.namespace),
        fields: (0..PARTITIONS).map(of_partition).collect(),
    };
    Ok(Router::new().route("/", post(read_many)).route("/{key}", get(read_one)).with_state(Arc::new(state)))
}

async fn read_one(State(state): State<Arc<Reader>>, Path(key): Path<String>) -> Result<Vec<u8>, StatusCode> {
    state.read(std::iter::once(key.as_str())).await.map_err(unavailable)
}

async fn read_many(State(state): State<Arc<Reader>>, body: String) -> Result<Vec<u8>, StatusCode> {
    state.read(body.lines()).await.map_err(unavailable)
}

impl Reader {
    async fn read(&self, keys: impl Iterator<Item = &str>) -> RedisResult<Vec<u8>> {
        let mut pipeline = Pipeline::new();
        let mut count = 0;
        for key in keys {
            let fields = &self.fields[usize::from(partition_of(key, PARTITIONS).0)];
            pipeline.cmd("HMGET").arg(self.names.entity("household", key)).arg(fields);
            count += 1;
        }
        let mut answer = Vec::new();
        for value in self.pool.send(&pipeline, count).await? {
            let Value::Array(slots) = value else { continue };
            for slot in slots {
                if let Value::BulkString(bytes) = slot {
                    answer.extend_from_slice(&bytes);
                }
            }
        }
        Ok(answer)
    }
}

fn unavailable(_: RedisError) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}
