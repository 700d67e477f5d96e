//! The official Rust client runs unchanged: rows in and out, JSON, compression, errors, parameters.

use crate::support;

use clickhouse::{Client, Compression, Row};
use serde::{Deserialize, Serialize};
use support::{Server, assert_code};

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Reading {
    id: u64,
    name: String,
    value: f64,
    tags: Vec<String>,
    maybe: Option<i32>,
}

const TABLE: &str = "CREATE TABLE r (id UInt64, name String, value Float64, tags Array(String), maybe Nullable(Int32)) \
                     ENGINE = MergeTree ORDER BY id";

fn readings(count: u64) -> Vec<Reading> {
    let reading = |id| Reading {
        id,
        name: format!("line {id}\n\n\nand 'more' \\ \u{1F600}\r\n\r\n"),
        value: id as f64 / 3.0,
        tags: vec!["\n\n".to_owned(); (id % 3) as usize],
        maybe: (id % 2 == 0).then_some(0x0A0A),
    };
    (0..count).map(reading).collect()
}

async fn insert(client: &Client, rows: &[Reading]) -> clickhouse::error::Result<()> {
    let mut insert = client.insert::<Reading>("r").await?;
    for row in rows {
        insert.write(row).await?;
    }
    insert.end().await
}

async fn rows_come_back(client: Client) {
    client.query(TABLE).execute().await.unwrap();
    let rows = readings(5_000);
    insert(&client, &rows).await.unwrap();
    let seen = client.query("SELECT ?fields FROM r ORDER BY id").fetch_all::<Reading>().await.unwrap();
    assert!(seen == rows);
}

#[tokio::test]
async fn rows_with_blank_lines_come_back_uncompressed() {
    rows_come_back(Server::start().client().with_validation(true)).await;
}

#[tokio::test]
async fn rows_with_blank_lines_come_back_through_lz4() {
    rows_come_back(Server::start().client().with_compression(Compression::Lz4)).await;
}

#[tokio::test]
async fn rows_come_back_without_validation() {
    rows_come_back(Server::start().client().with_compression(Compression::Lz4).with_validation(false)).await;
}

#[tokio::test]
async fn binary_numbers_that_look_like_blank_lines_are_data() {
    let server = Server::start();
    let client = server.client();
    client.query("CREATE TABLE n (a UInt16) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    let mut insert = client.insert_formatted_with("INSERT INTO n (a) FORMAT RowBinary").buffered();
    insert.write_buffered(&[0x0A; 2_000]);
    insert.end().await.unwrap();
    let seen: (u64, u16) = client.query("SELECT count(), any(a) FROM n").fetch_one().await.unwrap();
    assert_eq!(seen, (1_000, 0x0A0A));
    assert_eq!(server.bodies(), 0, "a body's file is removed");
}

#[tokio::test]
async fn json_columns_take_and_give_text() {
    let client = Server::start();
    let client = client.client();
    client.query("CREATE TABLE j (id UInt64, p JSON) ENGINE = MergeTree ORDER BY id").execute().await.unwrap();
    let mut insert = client.insert_formatted_with("INSERT INTO j FORMAT JSONEachRow").buffered();
    insert.write_buffered(b"{\"id\":1,\"p\":{\"a\":{\"b\":1.5},\"s\":\"x\\n\\ny\"}}\n\n\n{\"id\":2,\"p\":{}}\n");
    insert.end().await.unwrap();
    let sql = "SELECT id, toJSONString(p) FROM j ORDER BY id";
    let seen: Vec<(u64, String)> = client.query(sql).fetch_all().await.unwrap();
    assert_eq!(seen, [(1, r#"{"a":{"b":1.5},"s":"x\n\ny"}"#.to_owned()), (2, "{}".to_owned())]);
    let value: Option<f64> = client.query("SELECT p.a.b.:Float64 FROM j WHERE id = 1").fetch_one().await.unwrap();
    assert_eq!(value, Some(1.5));
}

#[tokio::test]
async fn values_and_bound_arguments_are_inserted() {
    let server = Server::start();
    let client = server.client();
    client.query(TABLE).execute().await.unwrap();
    let sql = "INSERT INTO r (id, name, value, tags) VALUES (?, ?, 1 / 4, []), (2, 'b', 0, ['\n\n']);";
    client.query(sql).bind(1).bind("a\n\n'b'").execute().await.unwrap();
    let seen: Vec<(u64, String)> = client.query("SELECT id, name FROM r ORDER BY id").fetch_all().await.unwrap();
    assert_eq!(seen, [(1, "a\n\n'b'".to_owned()), (2, "b".to_owned())]);
}

#[tokio::test]
async fn query_parameters_reach_the_engine() {
    let server = Server::start();
    let sql = "SELECT {n:UInt64} + 1, {s:String}, arrayStringConcat({a:Array(String)}, '|')";
    let query = server.client().query(sql).param("n", 41).param("s", "it's\ta\n\nline \\").param("a", vec!["x", "y'"]);
    let seen: (u64, String, String) = query.fetch_one().await.unwrap();
    assert_eq!(seen, (42, "it's\ta\n\nline \\".to_owned(), "x|y'".to_owned()));
}

#[tokio::test]
async fn errors_carry_the_codes_of_clickhouse() {
    let server = Server::start();
    let client = server.client();
    let run = |sql: &'static str| client.query(sql).execute();
    assert_code(run("SELECT * FROM nowhere").await, 60);
    assert_code(run("SELEKT 1").await, 62);
    assert_code(run("SELECT 1; SELECT 2").await, 62);
    assert_code(run("1 + 1").await, 62);
    assert_code(run("SELECT throwIf(number = 100000) FROM numbers(1000000)").await, 395);
    assert_code(client.clone().with_database("nowhere").query("SELECT 1").execute().await, 81);
    assert_code(client.clone().with_setting("no_such_setting", "1").query("SELECT 1").execute().await, 115);
    let slow = client.clone().with_setting("max_execution_time", "1");
    assert_code(slow.query("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)").execute().await, 159);
}

#[tokio::test]
async fn an_insert_over_a_hundred_partitions_is_refused() {
    let client = Server::start();
    let client = client.client();
    client.query("CREATE TABLE p (a UInt64) ENGINE = MergeTree PARTITION BY a ORDER BY a").execute().await.unwrap();
    let mut insert = client.insert_formatted_with("INSERT INTO p FORMAT TSV").buffered();
    insert.write_buffered((0..101).map(|n| format!("{n}\n")).collect::<String>().as_bytes());
    assert_code(insert.end().await, 252);
}

#[tokio::test]
async fn a_result_of_many_megabytes_arrives_whole() {
    let server = Server::start();
    for compression in [Compression::None, Compression::Lz4] {
        let client = server.client().with_compression(compression);
        let query = client.query("SELECT number, toString(number * 7919) FROM numbers(400000)");
        let mut cursor = query.fetch::<(u64, String)>().unwrap();
        let mut expected = 0;
        while let Some((number, text)) = cursor.next().await.unwrap() {
            assert_eq!((number, text), (expected, (expected * 7919).to_string()));
            expected += 1;
        }
        assert_eq!(expected, 400_000);
    }
}
