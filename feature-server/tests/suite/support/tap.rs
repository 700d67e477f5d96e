//! A wire-tap in front of a store: it forwards everything, and keeps what clients send so that tests can look at it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The bytes that clients sent, by connection.
#[derive(Clone)]
pub struct Tap {
    pub address: String,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Starts a tap in front of the store at this URL.
    pub async fn before(url: &str) -> Self {
        let to = bare(url);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tap = Self { address: listener.local_addr().unwrap().to_string(), sent: Arc::default() };
        let sent = tap.sent.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&to).await.unwrap();
                tokio::spawn(pass_on(client, server, sent.clone()));
            }
        });
        tap
    }

    /// The number of times a text was sent.
    pub fn count(&self, text: &[u8]) -> usize {
        let of = |sent: &Vec<u8>| sent.windows(text.len()).filter(|part| *part == text).count();
        self.sent.lock().iter().map(of).sum()
    }

    /// The reads of MongoDB.
    pub fn finds(&self) -> usize {
        self.count(b"\x02find\0")
    }

    /// The queries of ClickHouse.
    pub fn queries(&self) -> usize {
        self.count(b"POST /")
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, sent: Arc<Mutex<Vec<Vec<u8>>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let connection = {
        let mut sent = sent.lock();
        sent.push(Vec::new());
        sent.len() - 1
    };
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        sent.lock()[connection].extend_from_slice(&buffer[..read]);
        if to_server.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// The host and port of a URL.
pub fn bare(url: &str) -> String {
    url.split("//").nth(1).unwrap().trim_end_matches('/').to_owned()
}
