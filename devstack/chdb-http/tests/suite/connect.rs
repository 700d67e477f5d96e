//! ClickHouse's own Python client works with its default settings: it opens a session and compresses its inserts.

use std::path::Path;
use std::process::Command;

use millrace_devstack::tools::python;
use serde_json::{Value, json};

use crate::support::Server;

const CONNECT: &str = "clickhouse-connect==1.12.0";
const PANDAS: &str = "pandas==2.3.3";

#[test]
fn the_python_client_connects_inserts_and_reads_with_its_default_settings() {
    let packages = [CONNECT, PANDAS].map(str::to_owned);
    let python = python::virtualenv("clickhouse-connect-1.12.0-2.3.3", &packages).unwrap();
    let server = Server::start();
    let address = server.url.trim_start_matches("http://");
    let (host, port) = address.rsplit_once(':').unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/connect.py");
    let output = Command::new(python).arg(script).args([host, port]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["session"], &found["ping"]), (&json!(true), &json!(true)), "{found}");
    assert_eq!((&found["written"], &found["count"], &found["all"]), (&json!(50_000), &json!(50_000), &json!(true)));
    let row = ["7", "line 7\n\n", "1.75", "2026-01-31 12:00:00.250000", "['\\n\\n']", "None"];
    assert_eq!(found["row"], json!(row));
    assert_eq!(found["setting"], 3);
    let frame = json!({ "id": [1, 2, 3], "name": ["a", "b\n\n", "c"], "value": [0.5, 1.25, -3.0] });
    assert_eq!(found["frame"], frame);
    assert_eq!(found["raw"], 2, "gzip and plain bodies");
    assert_eq!((&found["set"], &found["temporary"], &found["missing"]), (&json!(true), &json!(true), &json!(true)));
    assert_eq!(server.bodies(), 0, "a body's file is removed");
}
