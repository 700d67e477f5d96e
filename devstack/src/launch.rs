//! Which program serves each store, and with which options. Starting the program is left to [`crate::native`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::DevstackError;
use crate::kind::StoreKind;
use crate::options::StackOptions;
use crate::tools::{chdb, chdb_http, mongodb, redis};

/// How a native store is started. It stays the same over restarts, so that the store comes back on its port with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreLaunch {
    /// The server's name and version, for people.
    pub(crate) server: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// The port on loopback that it listens on.
    pub(crate) port: u16,
}

impl StoreLaunch {
    /// Finds or fetches the store's program, and sets it up for a data folder and a port. Blocks.
    pub(crate) fn new(kind: StoreKind, options: &StackOptions, data: &Path, port: u16) -> Result<Self, DevstackError> {
        let data = data.to_string_lossy();
        match kind {
            StoreKind::Redis => redis_server(options, &data, port),
            StoreKind::MongoDb => mongodb_server(&data, port),
            StoreKind::ClickHouse => clickhouse_server(&data, port),
        }
    }
}

fn redis_server(options: &StackOptions, data: &str, port: u16) -> Result<StoreLaunch, DevstackError> {
    let (program, version) = redis::server()?;
    let fsync = if options.redis_fsync_always { "always" } else { "everysec" };
    let maxmemory = options.redis_maxmemory.unwrap_or(0);
    let text = format!(
        "--bind 127.0.0.1 --port {port} --protected-mode yes --daemonize no --appendonly yes --appendfsync {fsync} \
         --maxmemory {maxmemory} --maxmemory-policy noeviction --enable-debug-command no"
    );
    let mut arguments = words(&text);
    arguments.extend(["--save", "", "--dir", data].map(str::to_owned));
    Ok(StoreLaunch { server: format!("redis-server {version}"), program, arguments, port })
}

fn mongodb_server(data: &str, port: u16) -> Result<StoreLaunch, DevstackError> {
    let server = mongodb::server()?;
    let name = server.name();
    let (program, mut arguments) = match server {
        mongodb::Server::Mongod(program, _) => {
            (program, words(&format!("--bind_ip 127.0.0.1 --port {port} --wiredTigerCacheSizeGB 0.5 --dbpath")))
        }
        mongodb::Server::Secantus(program, configuration) => {
            let text = "--standalone --sync-on-commit --host 127.0.0.1 --cache-size 512M --log-level WARNING";
            let mut flags = words(&format!("{text} --port {port} --config"));
            flags.extend([configuration.to_string_lossy().into_owned(), "--storage-path".to_owned()]);
            (program, flags)
        }
    };
    arguments.push(data.to_owned());
    Ok(StoreLaunch { server: name, program, arguments, port })
}

fn clickhouse_server(data: &str, port: u16) -> Result<StoreLaunch, DevstackError> {
    let library = chdb::library()?;
    let program = chdb_http::binary()?;
    let mut arguments = words(&format!("--listen 127.0.0.1:{port} --lib"));
    arguments.extend([&library.to_string_lossy(), "--path", data].map(str::to_owned));
    Ok(StoreLaunch { server: format!("libchdb {} behind chdb-http", chdb::VERSION), program, arguments, port })
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
