//! The ClickHouse engine as a library (`libchdb.so`), behind the ClickHouse HTTP interface.
//!
//! For machines without containers: official clients and `curl` talk to it as to a server. It is meant for loopback: it has
//! no users and no TLS. Fetching the library and starting the process are left to `millrace-devstack`.

pub mod body;
pub mod compressed;
pub mod engine;
pub mod error;
mod ffi;
mod http;
mod pack;
pub mod request;
pub mod sql;
pub mod token;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::body::Spool;
use crate::engine::Engine;
use crate::error::OpenError;

/// How the server runs.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chdb-http", version, about)]
pub struct Options {
    /// The engine: path of libchdb.so
    #[arg(long, value_name = "FILE")]
    pub lib: PathBuf,
    /// The data folder; made if missing, used by one process at a time
    #[arg(long, value_name = "DIR")]
    pub path: PathBuf,
    /// The address to listen on. Keep it on loopback: there are no users and passwords
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8123")]
    pub listen: String,
    /// How many queries run at once; more wait for their turn. INSERTs wait too, so leave room beside long SELECTs
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// The largest body in bytes, after decompression; it goes to a file, not to memory
    #[arg(long, default_value_t = 1 << 30)]
    pub max_body: u64,
    /// How long SIGTERM waits for running queries, in seconds; the data is safe either way
    #[arg(long, default_value_t = 8)]
    pub drain: u64,
}

/// The server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data folder cannot be used.
    #[error("failed to prepare {0}: {1}")]
    Folder(PathBuf, std::io::Error),
    /// The address is not free, or not of this machine.
    #[error("failed to listen on {listen} ({source}); stop the program that holds the port, or give another --listen")]
    Listen {
        /// The address.
        listen: String,
        /// Why.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("failed to serve: {0}")]
    Serve(#[from] std::io::Error),
}

/// Serves until `shutdown` ends. Then requests in flight have the drain time to finish, and the engine is closed.
pub async fn run(
    options: &Options,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let (engine, spool) = open(options)?;
    println!("chdb-http: ClickHouse {} on {}", engine.version(), listener.local_addr()?);
    let server = http::Server { engine: engine.clone(), spool, max_body: options.max_body };
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut stopped_too = stopped.clone();
    let serve = axum::serve(listener, http::router(server)).with_graceful_shutdown(async move {
        let _ = stopped_too.changed().await;
    });
    let mut serve = tokio::spawn(serve.into_future());
    tokio::select! {
        ended = &mut serve => return ended.map_err(std::io::Error::other)?.map_err(ServeError::from),
        () = shutdown => drop((stop, stopped)),
    }
    let drain = async {
        let _ = serve.await;
        engine.close(options.connections).await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(options.drain), drain).await;
    Ok(())
}

fn open(options: &Options) -> Result<(Engine, Spool), ServeError> {
    let bodies = options.path.join("http-bodies");
    let failed = |error| ServeError::Folder(bodies.clone(), error);
    std::fs::create_dir_all(&options.path).map_err(failed)?;
    let folder = options.path.canonicalize().map_err(failed)?;
    let spool = Spool::open(folder.join("http-bodies")).map_err(failed)?;
    Ok((Engine::open(&options.lib, &folder, options.connections)?, spool))
}
