//! `millrace dev`, then the README's curl lines, unchanged.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use millrace_devstack::services::ServiceOptions;
use millrace_e2e::{eventually, get};
use serde_json::Value;
use tokio::process::Command;

const README: &str = include_str!("../../../README.md");

/// The commands of the block behind the mark, one per blank-line-separated paragraph.
fn commands() -> Vec<String> {
    let block = README.split("<!-- A test runs these lines unchanged. -->\n```sh\n").nth(1).expect("the mark");
    let block = block.split("\n```").next().expect("the end of the block");
    block.split("\n\n").map(str::to_owned).collect()
}

async fn run(command: &str) -> Value {
    let output = Command::new("bash").args(["-c", command]).output().await.expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("`{command}` answered: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_works_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::beside_this_program(Vec::new(), dir.path().join("logs")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let log = std::fs::File::create(dir.path().join("dev.log")).unwrap();
    let dev = Command::new(options.bin.join("millrace"))
        .args(["dev", "--dir"])
        .arg(dir.path().join("dev"))
        .current_dir(root)
        .stdout(Stdio::from(log.try_clone().unwrap()))
        .stderr(Stdio::from(log))
        .kill_on_drop(true)
        .spawn()
        .expect("millrace runs; build all binaries first");
    let dev = std::sync::Mutex::new(dev);
    let said = || std::fs::read_to_string(dir.path().join("dev.log")).unwrap_or_default();
    let limit = Duration::from_secs(90);
    eventually("millrace dev is ready", limit, || async {
        assert!(dev.lock().unwrap().try_wait().unwrap().is_none(), "{}", said());
        said().contains("ready: ").then_some(())
    })
    .await;
    let mut dev = dev.into_inner().unwrap();

    let commands = commands();
    assert_eq!(commands.len(), 7);
    assert_eq!(run(&commands[0]).await["status"], "accepted");
    assert_eq!(run(&commands[1]).await["accepted"], 2);
    let flat = eventually("the profile is there", limit, || async {
        let (_, flat) = get("http://localhost:8081/api/v1/features/household/1").await;
        (flat["income"] == "50-74K").then_some(flat)
    })
    .await;
    assert_eq!(flat["spend_7d"], "3.49", "the resend counts once: {flat}");
    assert_eq!(run(&commands[2]).await["household_size"], "2");
    let service = run(&commands[3]).await;
    let (values, metadata) = (&service["results"][0]["values"], &service["results"][0]["metadata"]);
    assert_eq!(values["household_spend:spend_7d"], "3.49", "{service}");
    assert_eq!(metadata["household_profile:income"]["status"], "PRESENT", "{service}");
    assert_eq!(run(&commands[4]).await["results"][0]["values"]["product_popularity:lines_7d"], 1);
    let vectors = run(&commands[5]).await;
    assert_eq!(
        (vectors["features"].as_array().unwrap().len(), &vectors["features"][1]),
        (2, &Value::Null),
        "{vectors}"
    );
    assert!(run(&commands[6]).await["views"].as_array().unwrap().len() > 3);

    let status = Command::new(options.bin.join("millrace"))
        .args(["status", "--json"])
        .env("MILLRACE_DEV_DIR", dir.path().join("dev"))
        .output();
    let status: Value = serde_json::from_slice(&status.await.unwrap().stdout).expect("status finds the stores of dev");
    assert_eq!(status["stores"]["mongodb"], "ok", "{status}");
    let printed = said().lines().any(|line| line.starts_with("redis              redis://127.0.0.1:"));
    assert!(printed, "dev prints the stores' addresses: {}", said());

    let pid = dev.id().unwrap().to_string();
    Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    let ended = tokio::time::timeout(limit, dev.wait()).await.expect("Ctrl-C stops all").unwrap();
    assert!(ended.success(), "{}", said());
    assert_eq!(get("http://localhost:8081/healthz").await.0, 0, "nothing is left running");
}
