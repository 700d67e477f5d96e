//! Batch views through the real binaries: values computed in ClickHouse are served with the job that computed them, the
//! scheduler catches up on missed runs, and a run that is killed leaves nothing half served.

use std::process::Stdio;
use std::time::Duration;

use millrace_devstack::services::ServiceKind;
use millrace_e2e::purchases::{HOUSEHOLDS, LIMIT, send};
use millrace_e2e::{World, eventually, get, post_json};
use serde_json::{Value, json};

const ORDERS: &str = r#"
  - name: household_orders
    entity: household
    query: |
      SELECT household_id, sum(sales_value) AS amount, count() AS orders, max(event_time) AS event_time
      FROM purchase WHERE feature_time < {as_of:DateTime64(3, 'UTC')} GROUP BY household_id
    features:
      - { name: amount, type: "decimal(18,2)" }
      - { name: orders, type: int64 }
  - name: night
    entity: household
    schedule: { cron: "0 0 * * *", time_zone: Europe/Berlin }
    query: SELECT number AS household_id, number * 2 AS twice FROM numbers(100)
    features: [{ name: twice, type: int64 }]
"#;

/// Each value is the instant of its run, twice; household 7 is gone from 2010 on.
const STAMPS: &str = r#"
  - name: stamps
    entity: household
    ttl: 20000d
    query: |
      SELECT number AS household_id, toUnixTimestamp64Milli({as_of:DateTime64(3, 'UTC')}) AS a, a AS b
      FROM numbers(150000) WHERE number != 7 OR {as_of:DateTime64(3, 'UTC')} < '2010-01-01'
    features: [{ name: a, type: int64 }, { name: b, type: int64 }]
"#;
const OLD: i64 = 1_000_000_000_000;
const NEW: i64 = 1_500_000_000_000;

/// The definitions that most tests use, with these views.
fn definitions(views: &str) -> String {
    millrace_e2e::DEFINITIONS.replace("services:", &format!("{}\nservices:", views.trim_matches('\n')))
}

async fn world(views: &str) -> World {
    let world = World::shared().await;
    world.apply(&definitions(views)).await;
    world
}

async fn read(server: &str, households: &[i64], features: &[&str]) -> Vec<Value> {
    let body = json!({ "entity": "household", "keys": households, "features": features, "metadata": true });
    let (status, answer) = post_json(&format!("{server}/v1/features"), &body).await;
    assert_eq!(status, 200, "{answer}");
    answer["results"].as_array().cloned().unwrap_or_default()
}

async fn jobs(world: &World, view: &str) -> Value {
    let said: Value = serde_json::from_str(&world.millrace(&["jobs", "--json"]).await).expect("jobs is JSON");
    let jobs = said["jobs"].as_array().cloned().unwrap_or_default();
    jobs.into_iter().find(|job| job["view"] == view).expect("the view has a job")
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_warehouse_are_served_with_their_job() {
    let world = world(ORDERS).await;
    let services = world.start_all().await;
    let server = services[3].url();
    send(&format!("{}/v1/events", services[0].url()), 0, 500).await;
    world.drained(LIMIT).await;
    let features = ["household_orders:amount", "household_orders:orders", "household_spend:spend_lifetime"];
    let before = read(&server, &[1], &features).await;
    assert_eq!(before[0]["metadata"]["household_orders:amount"]["status"], "NOT_FOUND", "{before:?}");

    let said = world.millrace(&["materialize", "household_orders", "--json"]).await;
    let report: Value = serde_json::from_str(&said).expect("the report is JSON");
    assert_eq!((&report["outcome"], &report["rows"]), (&json!("succeeded"), &json!(HOUSEHOLDS)), "{report}");
    for row in read(&server, &(0..HOUSEHOLDS).collect::<Vec<_>>(), &features).await {
        assert_eq!(row["values"]["household_orders:amount"], "0.10", "{row}");
        assert_eq!(row["values"]["household_spend:spend_lifetime"], "0.10", "the stream says the same: {row}");
        assert_eq!(row["values"]["household_orders:orders"], 10);
        let about = &row["metadata"]["household_orders:amount"];
        assert_eq!((&about["status"], &about["job_id"]), (&json!("PRESENT"), &report["job_id"]), "{about}");
    }

    let refused = world.try_millrace(&["materialize", "household_spend"]).await;
    assert!(
        refused.unwrap_err().contains("no batch view `household_spend` is in force; write one of: household_orders@1")
    );
    let mut scheduler = world.start(ServiceKind::Jobs, "run-jobs").await;
    let standby = world.start(ServiceKind::Jobs, "run-jobs-standby").await;
    eventually("last midnight is caught up", LIMIT, || async {
        (jobs(&world, "night@1").await["serving"] == "night@1-1").then_some(())
    })
    .await;
    let night = jobs(&world, "night@1").await;
    assert_eq!(night["runs"].as_array().map(Vec::len), Some(1), "once: {night}");
    eventually("it is served", LIMIT, || async {
        (read(&server, &[21], &["night:twice"]).await[0]["values"]["night:twice"] == 42).then_some(())
    })
    .await;
    let mut unread = world.command("millrace").arg("jobs").stdout(Stdio::piped()).spawn().expect("millrace runs");
    drop(unread.stdout.take());
    assert!(unread.wait().await.expect("it ends").success(), "a reader that stops reading is not a failure");
    let age = r#"millrace_batch_age_seconds{view="night@1"}"#;
    for (url, leads) in [(scheduler.url(), true), (standby.url(), false), (server, false)] {
        eventually(&format!("{url} says how old it is"), LIMIT, || async {
            let metrics = reqwest::get(format!("{url}/metrics")).await.ok()?.text().await.ok()?;
            let says = metrics.contains(age) && (!leads || metrics.contains("millrace_batch_leader 1"));
            says.then_some(())
        })
        .await;
    }
    assert_eq!(get(&format!("{}/readyz", standby.url())).await.0, 200);

    scheduler.kill().expect("the leader is killed");
    let late = r#"
  - name: late
    entity: household
    schedule: { cron: "0 0 * * *" }
    query: SELECT 7 AS household_id, 49 AS square
    features: [{ name: square, type: int64 }]
"#;
    world.apply(&definitions(&format!("{}{late}", ORDERS.trim_end_matches('\n')))).await;
    eventually("the standby leads and runs what is due", LIMIT, || async {
        (jobs(&world, "late@1").await["serving"] == "late@1-1").then_some(())
    })
    .await;
    let metrics = reqwest::get(format!("{}/metrics", standby.url())).await.expect("metrics");
    assert!(metrics.text().await.expect("text").contains("millrace_batch_leader 1"));
    assert_eq!(jobs(&world, "night@1").await["runs"].as_array().map(Vec::len), Some(1), "nothing is run twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_leaves_nothing_half_served_and_the_next_is_whole() {
    let world = world(STAMPS).await;
    let service = world.start(ServiceKind::FeatureServer, "server").await;
    let server = service.url();
    let sample: Vec<i64> = (0..500).map(|n| n * 300 + 7).collect();
    let features = ["stamps:a", "stamps:b"];
    let stamps = || async {
        let rows = read(&server, &sample, &features).await;
        let stamp = |row: &Value| {
            assert_eq!(row["values"]["stamps:a"], row["values"]["stamps:b"], "of one run: {row}");
            row["values"]["stamps:a"].as_i64()
        };
        rows.iter().map(stamp).collect::<Vec<_>>()
    };
    world.millrace(&["materialize", "stamps", "--as-of", &OLD.to_string()]).await;
    assert_eq!(stamps().await, vec![Some(OLD); 500]);

    let mut killed = world
        .command("millrace")
        .args(["materialize", "stamps", "--as-of", &NEW.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("millrace runs");
    eventually("some values are new", LIMIT, || async { stamps().await.contains(&Some(NEW)).then_some(()) }).await;
    killed.kill().await.expect("it is killed");
    let after = stamps().await;
    assert!(after.contains(&Some(OLD)), "it was killed before its end");
    assert!(after.iter().all(|stamp| matches!(stamp, Some(OLD | NEW))), "old values are served until replaced");
    assert_eq!(after[0], Some(OLD), "a key that the query no longer returns is served until a run is complete");
    assert_eq!(jobs(&world, "stamps@1").await["serving"], "stamps@1-1");

    // Its lease expires by itself. Until then the next run names its holder.
    eventually("the next run succeeds", LIMIT, || async {
        match world.try_millrace(&["materialize", "stamps", "--as-of", &NEW.to_string()]).await {
            Ok(_) => Some(()),
            Err(said) => {
                assert!(said.contains("is being materialized by"), "{said}");
                None
            }
        }
    })
    .await;
    eventually("the last household to go is gone", Duration::from_secs(10), || async {
        stamps().await[0].is_none().then_some(())
    })
    .await;
    assert_eq!(stamps().await[1..], vec![Some(NEW); 499]);
    let job = jobs(&world, "stamps@1").await;
    let outcomes: Vec<&Value> = job["runs"].as_array().expect("runs").iter().map(|run| &run["outcome"]).collect();
    assert_eq!(outcomes, [&json!("succeeded"), &json!("abandoned"), &json!("succeeded")], "{job}");
}
