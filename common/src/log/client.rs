//! A driver's client for the URL of a Redis.

use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, RedisResult};

/// A client that sends small packets at once; the driver leaves Nagle's algorithm on.
pub fn open(url: &str) -> RedisResult<Client> {
    let tcp = TcpSettings::default().set_nodelay(true);
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp))
}
