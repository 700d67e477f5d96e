//! The server's own guarantees: requests do not affect each other, and acknowledged data stays.

use crate::support;

use std::time::{Duration, Instant};

use clickhouse::Client;
use support::{Server, assert_code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends one raw request and returns the whole response.
async fn raw(server: &Server, request: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

async fn count(client: &Client, table: &str) -> u64 {
    client.query(&format!("SELECT count() FROM {table}")).fetch_one().await.unwrap()
}

async fn insert(client: &Client, sql: &str, data: &[u8]) -> clickhouse::error::Result<()> {
    let mut insert = client.insert_formatted_with(sql).buffered();
    insert.write_buffered(data);
    insert.end().await
}

#[tokio::test]
async fn curl_gets_what_it_expects() {
    let server = Server::start();
    assert!(raw(&server, "GET /ping", b"").await.ends_with("\r\n\r\nOk.\n"));
    assert!(raw(&server, "GET /", b"").await.ends_with("\r\n\r\nOk.\n"));
    assert!(raw(&server, "GET /?query=SELECT%201&default_format=JSONEachRow", b"").await.ends_with("{\"1\":1}\n"));
    let named = raw(&server, "POST /?query_id=mine", b"SELECT 1 FORMAT CSV").await;
    assert!(
        named.contains("x-clickhouse-query-id: mine\r\n") && named.contains("x-clickhouse-format: CSV\r\n"),
        "{named}"
    );
    let missing = raw(&server, "POST /", b"SELECT * FROM nowhere").await;
    assert!(
        missing.starts_with("HTTP/1.1 404 ") && missing.contains("x-clickhouse-exception-code: 60\r\n"),
        "{missing}"
    );
    assert!(missing.contains("\r\n\r\nCode: 60. DB::Exception: "), "{missing}");
    assert!(raw(&server, "POST /", b"SELEKT").await.starts_with("HTTP/1.1 400 "));
    assert!(
        raw(&server, "GET /?query=CREATE%20TABLE%20t%20(a%20Int8)%20ENGINE%20=%20Memory", b"")
            .await
            .contains("Code: 164.")
    );
}

#[tokio::test]
async fn a_long_query_delays_no_other() {
    let server = Server::start();
    let client = server.client();
    let slow = client.query("SELECT count() FROM numbers(20) WHERE sleepEachRow(0.5) = 0 SETTINGS max_block_size = 1");
    let slow = tokio::spawn(async move { slow.fetch_one::<u64>().await });
    let quick = (0..40).map(|n| client.query("SELECT ?").bind(n).fetch_one::<u8>());
    let seen = futures::future::join_all(quick).await;
    assert!(seen.into_iter().enumerate().all(|(n, value)| usize::from(value.unwrap()) == n));
    assert!(!slow.is_finished(), "forty queries took longer than one of ten seconds");
    slow.abort();
}

#[tokio::test]
async fn parallel_inserts_and_reads_all_count() {
    let server = Server::start();
    let client = server.client();
    client.query("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    let one = async |n: u64| {
        let rows: String = (0..100).map(|row| format!("{}\n", n * 100 + row)).collect();
        insert(&client, "INSERT INTO t FORMAT TSV", rows.as_bytes()).await.unwrap();
        assert!(count(&client, "t").await >= 100);
    };
    futures::future::join_all((0..50).map(one)).await;
    let seen: u64 = client.query("SELECT uniqExact(a) FROM t").fetch_one().await.unwrap();
    assert_eq!(seen, 5_000);
}

#[tokio::test]
async fn settings_and_database_of_a_request_end_with_it() {
    let server = Server::with(&["--connections", "1"]);
    let client = server.client();
    client.query("CREATE DATABASE other").execute().await.unwrap();
    let ask = "SELECT currentDatabase(), getSetting('max_threads') = 7, getSetting('insert_deduplication_token')";
    let set = client.clone().with_database("other").with_setting("max_threads", "7");
    let set = set.with_setting("insert_deduplication_token", "x");
    let seen: (String, bool, String) = set.query(ask).fetch_one().await.unwrap();
    assert_eq!(seen, ("other".to_owned(), true, "x".to_owned()));
    client.query("SET max_threads = 7").execute().await.unwrap();
    client.query("USE other").execute().await.unwrap();
    let seen: (String, bool, String) = client.query(ask).fetch_one().await.unwrap();
    assert_eq!(seen, ("default".to_owned(), false, String::new()));
}

#[tokio::test]
async fn a_deduplication_token_is_obeyed() {
    let server = Server::start();
    let sql = "CREATE TABLE t (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 1000";
    server.client().query(sql).execute().await.unwrap();
    let pinned = server.client().with_setting("async_insert", "0");
    let send = async |token: &str, data: &[u8]| {
        let client = pinned.clone().with_setting("insert_deduplication_token", token);
        insert(&client, "INSERT INTO t (a) FORMAT RowBinary", data).await.unwrap();
        count(&client, "t").await
    };
    assert_eq!(send("0-1", &1u64.to_le_bytes()).await, 1);
    assert_eq!(send("0-1", &2u64.to_le_bytes()).await, 1, "the same token: ignored");
    assert_eq!(send("0-2", &2u64.to_le_bytes()).await, 2);
}

#[tokio::test]
async fn acknowledged_rows_and_tokens_survive_kill_and_restart() {
    let mut server = Server::start();
    let sql =
        "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 1000";
    server.client().query("CREATE DATABASE d").execute().await.unwrap();
    server.client().with_database("d").query(sql).execute().await.unwrap();
    for round in 0..3u64 {
        for n in 0..30u64 {
            let client = server.client().with_setting("insert_deduplication_token", format!("{round}-{n}"));
            insert(&client, "INSERT INTO d.t FORMAT RowBinary", &(round * 100 + n).to_le_bytes()).await.unwrap();
        }
        server = server.kill_and_restart();
        assert_eq!(count(&server.client(), "d.t").await, (round + 1) * 30);
        let again = server.client().with_setting("insert_deduplication_token", format!("{round}-29"));
        insert(&again, "INSERT INTO d.t FORMAT RowBinary", &(round * 100 + 29).to_le_bytes()).await.unwrap();
        assert_eq!(count(&server.client(), "d.t").await, (round + 1) * 30);
    }
}

#[tokio::test]
async fn sigterm_finishes_requests_in_flight() {
    let mut server = Server::start();
    let client = server.client();
    client.query("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    let slow =
        client.query("INSERT INTO t SELECT number + sleepEachRow(0.2) FROM numbers(10) SETTINGS max_block_size = 1");
    let slow = tokio::spawn(slow.execute());
    let running = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO t %'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.query(running).fetch_one::<u64>().await.unwrap() == 0 {
        assert!(Instant::now() < deadline, "the insert never ran");
    }
    server.terminate();
    slow.await.unwrap().unwrap();
    assert!(server.wait(), "a clean exit");
    assert_eq!(count(&server.kill_and_restart().client(), "t").await, 10);
}

#[tokio::test]
async fn an_upload_that_breaks_off_inserts_nothing() {
    let server = Server::start();
    server.client().query("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /?query=INSERT+INTO+t+FORMAT+RowBinary HTTP/1.1\r\nHost: x\r\nContent-Length: 1600\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[1; 800]).await.unwrap();
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.bodies() > 0 {
        assert!(Instant::now() < deadline, "the body's file stays");
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&server.client(), "t").await, 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = Server::with(&["--max-body", "100000"]);
    let client = server.client();
    client.query("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    assert_code(insert(&client, "INSERT INTO t FORMAT RowBinary", &[1; 200_000]).await, 229);
    insert(&client, "INSERT INTO t FORMAT RowBinary", &[1; 90_000]).await.unwrap();
    assert_eq!(count(&client, "t").await, 90_000);
}

#[tokio::test]
async fn a_body_of_256_mib_goes_in() {
    let server = Server::start();
    let client = server.client().with_compression(clickhouse::Compression::Lz4);
    client.query("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY tuple()").execute().await.unwrap();
    let mut upload = client.insert_formatted_with("INSERT INTO t FORMAT RowBinary");
    let row = [&[0x80, 0x80, 0x40][..], &[b'\n'; 1 << 20]].concat();
    for _ in 0..256 {
        upload.send(row.clone().into()).await.unwrap();
    }
    upload.end().await.unwrap();
    let seen: (u64, u64) = client.query("SELECT count(), sum(length(a)) FROM t").fetch_one().await.unwrap();
    assert_eq!(seen, (256, 256 << 20));
}
