//! `millrace jobs` against a real log: its text about runs, and its errors for names that do not exist.

use std::time::Duration;

use clap::Parser;
use millrace::commands::jobs;
use millrace_common::log::job::{self, RunCounts, RunEnding, RunOutcome};
use millrace_common::log::{Acquisition, LeaseToken, Log, LogMeta, lease, registry};
use millrace_common::names::Names;
use millrace_core::codec::ENGINE;
use millrace_core::definitions::DefinitionsSource;

const YAML: &str = "entities: { user: { key: user_id, type: int64 } }
views:
  - { name: nightly, entity: user, query: SELECT 1, features: [{ name: n, type: int64 }] }
";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    args: jobs::JobsArgs,
}

/// The command's text, or its error.
async fn text(log: &Log, redis: &str, arguments: &[&str]) -> Result<String, String> {
    let stores = ["jobs", "--redis-url", redis, "--namespace", log.names().namespace()];
    let args = Arguments::parse_from(stores.iter().chain(arguments)).args;
    jobs::text(&args).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn an_unknown_name_is_an_error_and_a_run_whose_process_died_has_no_owner() {
    let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| stack.redis_url().to_owned());
    let names = Names::new(format!("test_jobs_{}", millrace_common::clock::now_ms()));
    let log = Log::create(&url, names, LogMeta::new(2, 300_000)).await.unwrap();
    let source = DefinitionsSource { yaml: YAML.to_owned(), schemas: Default::default() };
    registry::apply(&log, &source, ENGINE).await.unwrap();

    let refused = text(&log, &url, &["--view", "nope"]).await.unwrap_err();
    assert_eq!(refused, "no batch view `nope` is in force; write one of: nightly@1");
    for none in ["nope@1-1", "nightly@1-1"] {
        let refused = text(&log, &url, &["--failed", none]).await.unwrap_err();
        assert!(refused.contains(&format!("no run `{none}` has ended")), "{refused}");
    }
    assert!(text(&log, &url, &["--failed", "nightly"]).await.unwrap_err().contains("is not a job id"));

    let begin = async |ttl: Duration| {
        let key = log.names().job("nightly@1");
        let Acquisition::Acquired(grant) = lease::acquire(&log, &key, "host-7", ttl).await.unwrap() else {
            panic!("held")
        };
        assert!(job::begin(&log, "nightly@1", &grant.token, 1_000).await.unwrap());
        grant.token
    };
    let token = begin(Duration::from_secs(600)).await;
    let said = text(&log, &url, &["--view", "nightly"]).await.unwrap();
    assert!(said.contains("running   nightly@1-1 since") && said.contains("by host-7"), "{said}");
    let ended = async |token: &LeaseToken, failed_keys: &[(String, String)]| {
        let ending = RunEnding { outcome: RunOutcome::Failed, counts: &RunCounts::default(), reason: "", failed_keys };
        let run = u32::try_from(token.epoch).unwrap();
        assert!(job::finish(&log, "nightly@1", token, run, &ending).await.unwrap());
    };
    ended(&token, &[("7".to_owned(), "why".to_owned())]).await;
    assert_eq!(text(&log, &url, &["--failed", "nightly@1-1"]).await.unwrap(), "7: why\n");

    begin(Duration::from_millis(1)).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !text(&log, &url, &[]).await.unwrap().contains("by nobody: its process died") {
        assert!(std::time::Instant::now() < deadline, "it still runs");
    }
    let token = begin(Duration::from_secs(600)).await;
    ended(&token, &[]).await;
    assert_eq!(text(&log, &url, &["--failed", "nightly@1-3"]).await.unwrap(), "", "no key failed");
}
