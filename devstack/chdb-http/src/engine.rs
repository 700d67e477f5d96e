//! The engine as the server sees it: statements in, bytes out, several at a time.
//!
//! Every statement gets a connection of its own (0.1 ms), so no setting, database or temporary table of one request can
//! reach the next. One further connection holds the data folder open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::TempPath;
use tokio::sync::Semaphore;

use crate::error::{OpenError, QueryError};
use crate::ffi::{Api, Connection};

/// The engine on one data folder. Clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    permits: Arc<Semaphore>,
}

struct Inner {
    api: Arc<Api>,
    folder: PathBuf,
    version: String,
    keeper: Mutex<Option<Connection>>,
}

/// One request for the engine.
#[derive(Debug, Default)]
pub struct Statement {
    /// Statements that prepare the session (`USE …`, `SET …`); may be empty.
    pub setup: String,
    /// The query.
    pub sql: Vec<u8>,
    /// The format of the result where the query names none.
    pub format: String,
    /// A file that the query reads; removed when it is done.
    pub data: Option<TempPath>,
}

/// The whole result of a statement, in the engine's memory until dropped.
#[derive(Debug, Clone)]
pub struct Output {
    /// The formatted result.
    pub body: Bytes,
    /// Rows and bytes read, rows and bytes written.
    pub counters: [u64; 4],
}

impl Engine {
    /// Loads the library, opens the folder and asks for the version. Blocks. At most `parallel` statements run at once.
    pub fn open(library: &Path, folder: &Path, parallel: usize) -> Result<Self, OpenError> {
        let api = Api::load(library)?;
        let mut keeper = Connection::open(&api, folder)?;
        let answer = keeper.query(b"SELECT version()", "TSVRaw")?;
        let version = String::from_utf8_lossy(answer.as_ref()).trim().to_owned();
        let keeper = Mutex::new(Some(keeper));
        let inner = Arc::new(Inner { api, folder: folder.to_owned(), version, keeper });
        Ok(Self { inner, permits: Arc::new(Semaphore::new(parallel.max(1))) })
    }

    /// ClickHouse's version.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Runs a statement on a thread of its own, when one of the places is free. Dropping the future does not stop it.
    pub async fn run(&self, statement: Statement) -> Result<Output, QueryError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| closed())?;
        let inner = self.inner.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            inner.execute(&statement)
        });
        work.await.map_err(|error| QueryError::new(1001, "STD_EXCEPTION", error))?
    }

    /// Waits for running statements, refuses later ones, and closes the data folder.
    pub async fn close(&self, parallel: usize) {
        let all = u32::try_from(parallel.max(1)).unwrap_or(u32::MAX);
        let _permits = self.permits.acquire_many(all).await;
        self.permits.close();
        if let Ok(mut keeper) = self.inner.keeper.lock() {
            keeper.take();
        }
    }
}

impl Inner {
    fn execute(&self, statement: &Statement) -> Result<Output, QueryError> {
        let mut connection =
            Connection::open(&self.api, &self.folder).map_err(|error| QueryError::new(1001, "STD_EXCEPTION", error))?;
        if !statement.setup.is_empty() {
            connection.query(statement.setup.as_bytes(), "Null")?;
        }
        let answer = connection.query(&statement.sql, &statement.format)?;
        let counters = answer.counters();
        Ok(Output { body: Bytes::from_owner(answer), counters })
    }
}

fn closed() -> QueryError {
    QueryError::new(439, "CANNOT_SCHEDULE_TASK", "the server is shutting down")
}
