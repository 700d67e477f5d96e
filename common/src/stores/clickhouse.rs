//! The events and what is computed of them, in ClickHouse: one database per namespace. `rows` knows the form of a
//! row, `insert` sends rows, `read` asks which arrived, `daily` keeps the roll-up true, `values` computes features,
//! `batch` streams a batch view's query, `letters` copies dead letters, `schema` makes the tables. SQL text is
//! `millrace_core::sql`'s.

mod batch;
mod daily;
mod error;
mod insert;
mod letters;
mod read;
mod rows;
mod schema;
mod url;
mod values;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ::clickhouse::error::Error as DriverError;
use ::clickhouse::query::Query;
use ::clickhouse::{Client, Compression};
use millrace_core::sql::{Param, SqlQuery};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use batch::BatchRows;
pub use error::{ClickHouseError, Fault};
pub use rows::{Layout, Rows, row_bytes};
pub use schema::migrate;

/// How long an INSERT may take before its outcome counts as unknown; less than a lease lives between renewals.
pub const INSERT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long reading back, DDL and bookkeeping may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most INSERTs that one process has under way.
const MAX_INSERTS: usize = 8;
/// Bound of what one query for features may hold in memory.
const MAX_QUERY_BYTES: u64 = 2 << 30;

/// A namespace's database. Cloning it is cheap and shares the connections.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    database: String,
    insert_timeout: Duration,
    inserts: Arc<Semaphore>,
}

impl ClickHouse {
    /// Reads the URL, which may hold user and password; connects when first used, so that it may be away now.
    pub fn connect(url: &str, namespace: &str) -> Result<Self, ClickHouseError> {
        let url = url::parse(url)?;
        // A neighbour's CPU is dearer than its network: packing pays only where the network is between.
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

    /// The same, with another bound for one INSERT.
    pub fn with_insert_timeout(mut self, timeout: Duration) -> Self {
        self.insert_timeout = timeout;
        self
    }

    /// How long an INSERT may take.
    pub fn insert_timeout(&self) -> Duration {
        self.insert_timeout
    }

    /// Waits for a turn to insert, kept until what it answers is dropped. More at once would only make each slower, and
    /// on a small machine slower than the timeout. Taken before the lease is looked at, which goes on being renewed.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        self.inserts.clone().acquire_owned().await.ok()
    }

    /// The database of the namespace.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The driver's client, for questions that only a test or an operator's tool asks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it answers and has our tables.
    pub async fn ping(&self) -> Result<(), ClickHouseError> {
        let ask = self.client.query_raw("SELECT 1 FROM events LIMIT 0").execute();
        within(Duration::from_secs(2), ask).await
    }

    /// Its version, for people.
    pub async fn server(&self) -> Result<String, ClickHouseError> {
        within(Duration::from_secs(2), self.client.query_raw("SELECT version()").fetch_one::<String>()).await
    }

    async fn execute(&self, statement: &str) -> Result<(), ClickHouseError> {
        within(TIMEOUT, self.client.query_raw(statement).execute()).await
    }

    /// The query with its parameters, bounded on the server too.
    fn ask(&self, query: &SqlQuery, timeout: Duration) -> Query {
        let seconds = timeout.as_secs() + 1;
        self.ask_unbounded(query).with_setting("max_execution_time", seconds.to_string())
    }

    fn ask_unbounded(&self, query: &SqlQuery) -> Query {
        query.params.iter().fold(self.client.query_raw(&query.text), |ask, (name, value)| match value {
            Param::Int(value) => ask.param(name, value),
            Param::Text(value) => ask.param(name, value),
            Param::Ints(values) => ask.param(name, values),
            Param::Unsigned(values) => ask.param(name, values),
            Param::Texts(values) => ask.param(name, values),
        })
    }
}

/// The driver sets no time limits of its own for queries.
async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, ClickHouseError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer.map_err(ClickHouseError::from),
        Err(_) => Err(ClickHouseError::Late(timeout)),
    }
}
