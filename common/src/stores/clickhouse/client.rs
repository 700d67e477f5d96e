//! A connection to a namespace's database in ClickHouse: its URL, its timeouts, and how a query is sent.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ::clickhouse::error::Error as DriverError;
use ::clickhouse::query::Query;
use ::clickhouse::{Client, Compression};
use millrace_core::sql::{Param, SqlQuery};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ClickHouseError;
use super::url;

/// How long an INSERT may take before its outcome counts as unknown. Shorter than a lease that is renewed in time.
pub const INSERT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long reading back, DDL and bookkeeping may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// The most INSERTs of one process at once.
const MAX_INSERTS: usize = 8;
/// The most memory of one query for features, in bytes.
pub(super) const MAX_QUERY_BYTES: u64 = 2 << 30;

/// A namespace's database. A clone is cheap and shares the connections.
#[derive(Clone)]
pub struct ClickHouse {
    pub(super) client: Client,
    database: String,
    insert_timeout: Duration,
    inserts: Arc<Semaphore>,
}

impl ClickHouse {
    /// Reads the URL, which may hold user and password. The driver connects at the first call, so ClickHouse may be
    /// unavailable now.
    pub fn connect(url: &str, namespace: &str) -> Result<Self, ClickHouseError> {
        let url = url::parse(url)?;
        // On one machine the CPU costs more than the bytes, so only data that crosses a network is compressed.
        let compression = if url.is_loopback() { Compression::None } else { Compression::Lz4 };
        let mut client = Client::default()
            .with_url(url.base)
            .with_database(namespace)
            .with_compression(compression)
            .with_product_info("millrace", env!("CARGO_PKG_VERSION"));
        if let Some((user, password)) = url.credentials {
            client = client.with_user(user).with_password(password);
        }
        let inserts = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, MAX_INSERTS));
        Ok(Self {
            client,
            database: namespace.to_owned(),
            insert_timeout: INSERT_TIMEOUT,
            inserts: Arc::new(Semaphore::new(inserts)),
        })
    }

    /// Sets another time limit for one INSERT.
    pub fn with_insert_timeout(mut self, timeout: Duration) -> Self {
        self.insert_timeout = timeout;
        self
    }

    /// How long an INSERT may take.
    pub fn insert_timeout(&self) -> Duration {
        self.insert_timeout
    }

    /// Waits for a turn to insert. The turn ends when the returned permit is dropped. More INSERTs at once would only make
    /// each slower, and on a small machine slower than the timeout. Wait for the turn before you look at the lease.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.inserts.clone().acquire_owned().await.ok()
    }

    /// The database of the namespace.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The driver's client, for queries of tests and operators' tools.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Checks that it answers and has Millrace's tables.
    pub async fn ping(&self) -> Result<(), ClickHouseError> {
        let ask = self.client.query_raw("SELECT 1 FROM events LIMIT 0").execute();
        within(Duration::from_secs(2), ask).await
    }

    /// Its version, for people.
    pub async fn server(&self) -> Result<String, ClickHouseError> {
        within(Duration::from_secs(2), self.client.query_raw("SELECT version()").fetch_one::<String>()).await
    }

    pub(super) async fn execute(&self, statement: &str) -> Result<(), ClickHouseError> {
        within(TIMEOUT, self.client.query_raw(statement).execute()).await
    }

    /// The query with its parameters and the same time limit on the server.
    pub(super) fn ask(&self, query: &SqlQuery, timeout: Duration) -> Query {
        let seconds = timeout.as_secs() + 1;
        self.ask_unbounded(query).with_setting("max_execution_time", seconds.to_string())
    }

    pub(super) fn ask_unbounded(&self, query: &SqlQuery) -> Query {
        query.params.iter().fold(self.client.query_raw(&query.text), |ask, (name, value)| match value {
            Param::Int(value) => ask.param(name, value),
            Param::Text(value) => ask.param(name, value),
            Param::Ints(values) => ask.param(name, values),
            Param::Unsigned(values) => ask.param(name, values),
            Param::Texts(values) => ask.param(name, values),
        })
    }
}

/// Bounds a call: the driver has no time limit of its own for a query.
pub(super) async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, ClickHouseError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer.map_err(ClickHouseError::from),
        Err(_) => Err(ClickHouseError::Late(timeout)),
    }
}
