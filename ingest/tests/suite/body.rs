//! Bodies that are refused: the sender sees why, and its next request works.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use millrace_ingest::{Config, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::METRICS;

/// Ingest without a log. Bodies are read before the log is needed.
async fn start(arguments: &[&str]) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let always = ["ingest", "--redis-url", "redis://127.0.0.1:1"];
    let config = Config::parse_from(always.iter().chain(arguments));
    tokio::spawn(run(config, listener, METRICS.clone(), shutdown.clone()));
    (address, shutdown.drop_guard())
}

/// The answer to a request whose body is sent in pieces, read until the connection ends.
async fn answer(address: SocketAddr, length: usize, pieces: usize, pause: Duration) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..pieces {
        connection.write_all(&vec![b' '; length / 16]).await.unwrap();
        tokio::time::sleep(pause).await;
    }
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_on_and_its_connection_closed() {
    let (address, _running) = start(&["--max-body", "1024"]).await;
    let answer = answer(address, 16 << 20, 16, Duration::from_millis(1)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains("the body is larger than 1024 bytes"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_told_so_and_its_connection_closed() {
    let (address, _running) = start(&["--body-timeout", "100ms"]).await;
    let answer = answer(address, 1 << 20, 4, Duration::from_millis(50)).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn after_a_refused_body_the_next_request_of_the_same_client_is_answered() {
    let (address, _running) = start(&["--max-body", "1024"]).await;
    let client = reqwest::Client::new();
    let post = |size: usize| client.post(format!("http://{address}/v1/events")).body(vec![b' '; size]).send();
    for _ in 0..50 {
        assert_eq!(post(4 << 20).await.unwrap().status(), 413);
        assert_eq!(post(100).await.unwrap().status(), 503, "there is no log");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_taken_up_to_the_limit() {
    let (address, _running) = start(&["--max-body", "1024"]).await;
    let chunks = |count: usize| {
        let chunk = "80\r\n".to_owned() + &" ".repeat(128) + "\r\n";
        let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        head.to_owned() + &chunk.repeat(count) + "0\r\n\r\n"
    };
    for (count, status) in [(8, "503"), (9, "413")] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(chunks(count).as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{count}: {answer}");
    }
}
