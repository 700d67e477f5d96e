//! Which program serves each store, and with which options.

use std::path::Path;

use crate::error::DevstackError;
use crate::options::StackOptions;
use crate::ports;
use crate::store::{Kind, Launch, Store};
use crate::tools::{chdb, chdb_http, mongodb, redis};

/// Two processes that look for a free port at the same time may find the same one.
const TRIES: usize = 3;

/// Fetches what is missing, starts the store on a free port, and waits until it answers. Blocks.
pub(crate) fn fresh(kind: Kind, options: &StackOptions) -> Result<Store, DevstackError> {
    let data = options.dir.join(kind.folder());
    std::fs::create_dir_all(&data).map_err(DevstackError::file(&data))?;
    let data = data.canonicalize().map_err(DevstackError::file(&data))?;
    let mut tries = 0;
    loop {
        tries += 1;
        let port = ports::free().ok_or(DevstackError::Missing {
            tool: "free port",
            advice: "2000 ports on loopback are taken; stop what holds them".to_owned(),
        })?;
        let launch = command(kind, options, &data, port)?;
        match Store::launch(kind, launch, &options.dir, options.detached) {
            Err(DevstackError::NotReady { tail, .. }) if tries < TRIES && lost_the_port(&tail) => {}
            result => return result,
        }
    }
}

fn lost_the_port(tail: &str) -> bool {
    tail.to_lowercase().contains("address already in use")
}

fn command(kind: Kind, options: &StackOptions, data: &Path, port: u16) -> Result<Launch, DevstackError> {
    let data = data.to_string_lossy();
    match kind {
        Kind::Redis => redis_command(options, &data, port),
        Kind::MongoDb => mongodb_command(&data, port),
        Kind::ClickHouse => clickhouse_command(&data, port),
    }
}

fn redis_command(options: &StackOptions, data: &str, port: u16) -> Result<Launch, DevstackError> {
    let (program, version) = redis::server()?;
    let fsync = if options.redis_fsync_always { "always" } else { "everysec" };
    let maxmemory = options.redis_maxmemory.unwrap_or(0);
    let text = format!(
        "--bind 127.0.0.1 --port {port} --protected-mode yes --daemonize no --appendonly yes --appendfsync {fsync} \
         --maxmemory {maxmemory} --maxmemory-policy noeviction --enable-debug-command no"
    );
    let mut arguments = words(&text);
    arguments.extend(["--save", "", "--dir", data].map(str::to_owned));
    Ok(Launch { server: format!("redis-server {version}"), program, arguments, port })
}

fn mongodb_command(data: &str, port: u16) -> Result<Launch, DevstackError> {
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
    Ok(Launch { server: name, program, arguments, port })
}

fn clickhouse_command(data: &str, port: u16) -> Result<Launch, DevstackError> {
    let library = chdb::library()?;
    let program = chdb_http::binary()?;
    let mut arguments = words(&format!("--listen 127.0.0.1:{port} --lib"));
    arguments.extend([&library.to_string_lossy(), "--path", data].map(str::to_owned));
    Ok(Launch { server: format!("libchdb {} behind chdb-http", chdb::VERSION), program, arguments, port })
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
