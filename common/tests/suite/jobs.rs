//! Runs of batch views on real stores: what is served before, during and after them, who may write, and what becomes
//! of keys that cannot be written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_common::config::StoreConfig;
use millrace_common::jobs::{Job, JobError, JobStores, RunProgress, RunReport, run};
use millrace_common::log::job::{self, CompletedRun, JobState, RunCounts, RunEnding, RunOutcome};
use millrace_common::log::{Log, LogMeta, lease};
use millrace_common::names::Names;
use millrace_common::process::Readiness;
use millrace_common::stores::clickhouse;
use millrace_common::stores::features::{Put, PutOutcome};
use millrace_core::assemble::assemble;
use millrace_core::batch::Run;
use millrace_core::codec;
use millrace_core::definitions::{Definitions, DefinitionsSource, View};
use millrace_core::slot::Slot;
use millrace_devstack::{Stack, StackOptions, shared_for_tests, test_dir};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::acquire;

const DAY: i64 = 86_400_000;
/// The first midnight of a year that the tests live in.
const MIDNIGHT: i64 = 1_767_225_600_000;

const ROWS: &str = "SELECT household_id, amount, orders FROM rows \
     WHERE at = toDate({as_of:DateTime64(3, 'UTC')}, 'UTC')";

/// Stores, a namespace of its own with a table of rows by day, and a batch view in each online store.
struct World {
    stores: JobStores,
    stack: Stack,
    definitions: Arc<Definitions>,
}

fn definitions(query: &str) -> Arc<Definitions> {
    let view = |name: &str, store: &str| {
        json!({
            "name": name, "entity": "household", "store": store, "query": query,
            "features": [
                { "name": "amount", "type": "decimal(18,2)" },
                { "name": "orders", "type": "int64", "index": store == "mongodb" },
            ],
        })
    };
    let yaml = json!({
        "entities": { "household": { "key": "household_id", "type": "int64" } },
        "views": [view("orders", "redis"), view("order_profiles", "mongodb")],
    });
    let source = DefinitionsSource { yaml: yaml.to_string(), schemas: Default::default() };
    Arc::new(Definitions::compile(source).unwrap())
}

impl World {
    async fn shared() -> Self {
        Self::on(shared_for_tests(test_dir()).await.unwrap()).await
    }

    async fn on(stack: Stack) -> Self {
        let namespace = format!("jobs_{}", uuid::Uuid::now_v7().simple());
        Log::create(stack.redis_url(), Names::new(&namespace), LogMeta::new(2, 300_000)).await.unwrap();
        clickhouse::migrate(stack.clickhouse_url(), &namespace).await.unwrap();
        let config = StoreConfig {
            redis_url: stack.redis_url().to_owned(),
            redis_features_url: None,
            mongodb_url: stack.mongodb_url().to_owned(),
            clickhouse_url: stack.clickhouse_url().to_owned(),
            namespace,
        };
        let stores = JobStores::open(&config, &Readiness::default(), &CancellationToken::new()).await.unwrap().unwrap();
        let world = Self { stores, stack, definitions: definitions(ROWS) };
        let table = "CREATE TABLE rows (at Date, household_id Int64, amount String, orders Nullable(Int64)) \
                     ENGINE = MergeTree ORDER BY household_id";
        world.sql(table).await;
        world
    }

    async fn sql(&self, statement: &str) {
        self.stores.clickhouse.client().query_raw(statement).execute().await.unwrap();
    }

    /// Households `from` to `to` on the n-th day, each with an amount that says the day.
    async fn fill(&self, day: i64, from: i64, to: i64) {
        let at = (MIDNIGHT + day * DAY) / DAY;
        let (skip, count) = (from, to - from);
        self.sql(&format!(
            "INSERT INTO rows SELECT toDate({at}), number + {skip}, '{day}.50', number FROM numbers({count})"
        ))
        .await;
    }

    fn job(&self, view: usize, day: i64) -> Job {
        Job { definitions: self.definitions.clone(), view, as_of: MIDNIGHT + day * DAY }
    }

    async fn run(&self, view: usize, day: i64) -> Result<RunReport, JobError> {
        self.run_of(self.job(view, day)).await
    }

    async fn run_of(&self, job: Job) -> Result<RunReport, JobError> {
        run(&self.stores, &job, &Arc::new(RunProgress::default()), &CancellationToken::new()).await
    }

    fn view(&self, index: usize) -> &View {
        &self.definitions.views[index]
    }

    async fn state(&self, view: usize) -> JobState {
        job::states(&self.stores.log, &[self.view(view).id()]).await.unwrap().remove(0)
    }

    async fn completed(&self, view: usize) -> Option<CompletedRun> {
        self.state(view).await.completed
    }

    /// Reads a household from Redis: the run that wrote it, and the amount. None where nothing is stored.
    async fn stored(&self, household: i64) -> Option<(Run, Value)> {
        let read = [(self.hash(household), vec!["orders@1|batch".to_owned()])];
        let found = self.stores.features.read(&read).await.unwrap();
        let slot = codec::decode_for(self.view(0), found[0].as_ref().unwrap()[0].as_ref()?).unwrap();
        let run = Run::of(slot.checkpoint);
        let values = assemble(self.view(0), &[slot], &[0], run.as_of);
        Some((run, values[0].value.clone()))
    }

    /// The amount that readers get: nothing of runs older than the last completed one counts.
    async fn served(&self, household: i64) -> Option<Value> {
        let completed = self.completed(0).await.map_or(0, |completed| completed.run.number);
        let (run, value) = self.stored(household).await?;
        (run.number >= completed).then_some(value)
    }

    fn hash(&self, household: i64) -> String {
        self.stores.log.names().entity("household", &household.to_string())
    }

    /// The collection of the view in MongoDB.
    async fn documents(&self) -> mongodb::Collection<mongodb::bson::Document> {
        let client = mongodb::Client::with_uri_str(self.stack.mongodb_url()).await.unwrap();
        client.database(self.stores.log.names().namespace()).collection("order_profiles_v1")
    }

    async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.stack.redis_url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_replaces_the_values_of_the_run_before_it_and_what_vanished_is_gone() {
    let world = World::shared().await;
    world.fill(1, 0, 3_000).await;
    world.fill(2, 1, 2_000).await;
    let first = world.run(0, 1).await.unwrap();
    assert_eq!((first.outcome, first.counts.rows, first.counts.written), (RunOutcome::Succeeded, 3_000, 3_000));
    assert_eq!(first.job_id, format!("orders@1-{}", first.run.number));
    assert_eq!(world.served(0).await, Some(json!("1.50")));
    let second = world.run(0, 2).await.unwrap();
    assert!(second.run.number > first.run.number);
    assert_eq!(world.served(1_999).await, Some(json!("2.50")));
    assert_eq!(world.stored(0).await.unwrap().0, first.run, "it stays where it is");
    assert_eq!((world.served(0).await, world.served(2_500).await), (None, None), "and does not count");
    let runs = job::runs(&world.stores.log, "orders@1", 10).await.unwrap();
    let said: Vec<_> = runs.iter().map(|run| (run.run, run.outcome, run.counts.rows)).collect();
    assert_eq!(said, [(second.run, RunOutcome::Succeeded, 1_999), (first.run, RunOutcome::Succeeded, 3_000)]);
    let ttl: i64 = redis::cmd("PTTL").arg(world.hash(1)).query_async(&mut world.redis().await).await.unwrap();
    assert_eq!(ttl, -1, "a hash with a batch slot in it never expires");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_profile_says_which_job_wrote_it() {
    let world = World::shared().await;
    world.fill(1, 0, 1_500).await;
    let report = world.run(1, 1).await.unwrap();
    assert_eq!((report.outcome, report.counts.written), (RunOutcome::Succeeded, 1_500));
    let found = world.documents().await.find_one(mongodb::bson::doc! { "_id": "7" }).await.unwrap().unwrap();
    let metadata = found.get_document("metadata").unwrap();
    assert_eq!(metadata.get_str("source").unwrap(), "batch");
    assert_eq!(metadata.get_str("job_id").unwrap(), report.job_id);
    assert_eq!(found.get_document("features").unwrap().get_document("orders").unwrap().get_i64("value").unwrap(), 7);
    let again = world.run(1, 1).await.unwrap();
    assert_eq!((again.counts.written, again.counts.already), (1_500, 0), "a later run writes all anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_runs_one_works_and_the_other_says_who_does() {
    let world = World::shared().await;
    world.fill(1, 0, 20_000).await;
    let (a, b) = tokio::join!(world.run(0, 1), world.run(0, 1));
    let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
    assert_eq!(won.unwrap().counts.written, 20_000);
    let lost = lost.unwrap_err();
    assert!(matches!(&lost, JobError::Held { view, .. } if view == "orders@1"), "{lost}");
    assert!(lost.to_string().contains("is being materialized by"), "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_taken_over_stops_and_its_late_writes_change_nothing() {
    let world = World::shared().await;
    world.fill(1, 0, 10).await;
    let slow = World { definitions: definitions(&format!("{ROWS} AND sleepEachRow(0.3) = 0")), ..world };
    let key = slow.stores.log.names().job("orders@1");
    let mut redis = slow.redis().await;
    let taking_over = async {
        eventually("the run has begun", async || slow.state(0).await.running.is_some()).await;
        // As if its process had slept through its lease.
        let () = redis::cmd("HSET").arg(&[&key, "expires", "0"]).query_async(&mut redis).await.unwrap();
        let lease = Duration::from_secs(5);
        loop {
            match acquire(&slow.stores.log, &key, "somebody", lease).await {
                Some(grant) => return grant.token,
                None => {
                    let () = redis::cmd("HSET").arg(&[&key, "expires", "0"]).query_async(&mut redis).await.unwrap();
                }
            }
        }
    };
    let (ended, token) = tokio::join!(slow.run(0, 1), taking_over);
    assert!(matches!(&ended, Err(JobError::Fenced { .. })), "{ended:?}");
    assert!(job::begin(&slow.stores.log, "orders@1", &token, MIDNIGHT).await.unwrap());
    let records = job::runs(&slow.stores.log, "orders@1", 10).await.unwrap();
    assert_eq!((records.len(), records[0].outcome), (1, RunOutcome::Abandoned));

    // The later run has written; a sleeper's put of the earlier one is refused.
    let later = Run { number: u32::try_from(token.epoch).unwrap(), as_of: MIDNIGHT };
    let put = |run: Run| {
        let slot = Slot { checkpoint: run.checkpoint(0), ..Slot::empty(slow.view(0)) };
        Put { key: slow.hash(3), expire_ms: None, slots: vec![("orders@1|batch".into(), codec::encode(&slot))] }
    };
    let earlier = Run { number: later.number - 1, as_of: MIDNIGHT + DAY };
    let outcomes = slow.stores.features.put(&[put(later), put(earlier)]).await.unwrap();
    assert_eq!(outcomes, [[PutOutcome::Written], [PutOutcome::Stale]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_written_is_named_and_readers_keep_what_they_had() {
    let world = World::shared().await;
    world.fill(1, 0, 100).await;
    let before = world.run(0, 1).await.unwrap();
    world.fill(2, 10, 90).await;
    let day = (MIDNIGHT + 2 * DAY) / DAY;
    // An amount that would lose a digit, a household that comes twice, and one whose key in Redis is not a hash.
    world
        .sql(&format!("INSERT INTO rows VALUES (toDate({day}), 95, '1.505', 1), (toDate({day}), 20, '2.50', 1)"))
        .await;
    let mut redis = world.redis().await;
    let () = redis::cmd("SET").arg(&[&world.hash(30), "x"]).query_async(&mut redis).await.unwrap();
    let report = world.run(0, 2).await.unwrap();
    assert_eq!((report.outcome, report.counts.failed), (RunOutcome::Failed, 3), "{report:?}");
    assert!(report.reason.contains("3 rows could not be written"));
    let failed = job::failed_keys(&world.stores.log, "orders@1", report.run.number).await.unwrap();
    assert!(failed["95"].starts_with("amount: "), "{failed:?}");
    assert!(failed["20"].contains("more than once"), "{failed:?}");
    assert!(failed["30"].contains("WRONGTYPE"), "{failed:?}");
    assert_eq!(world.completed(0).await.unwrap().run, before.run, "readers go on counting from the run before");
    assert_eq!(world.served(95).await, Some(json!("1.50")), "the failed key keeps its value");
    assert_eq!(world.served(50).await, Some(json!("2.50")), "the others have their new ones");
    assert_eq!(world.served(0).await, Some(json!("1.50")), "nothing vanishes under a run that has failed");

    let () = redis::cmd("DEL").arg(world.hash(30)).query_async(&mut redis).await.unwrap();
    world.sql("TRUNCATE TABLE rows").await;
    world.fill(2, 10, 90).await;
    assert_eq!(world.run(0, 2).await.unwrap().outcome, RunOutcome::Succeeded);
    assert_eq!((world.served(30).await, world.served(95).await), (Some(json!("2.50")), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_no_profile_is_a_failed_key_and_the_run_goes_on() {
    let world = World::shared().await;
    world.fill(1, 0, 100).await;
    world.documents().await.insert_one(mongodb::bson::doc! { "_id": "30", "written_by": "hand" }).await.unwrap();
    let report = world.run(1, 1).await.unwrap();
    assert_eq!(
        (report.outcome, report.counts.written, report.counts.failed),
        (RunOutcome::Failed, 99, 1),
        "{report:?}"
    );
    assert!(report.failed_keys[0].1.contains("not a profile that Millrace wrote"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_made_fails_the_run_with_its_reason() {
    let world = World::shared().await;
    world.fill(1, 0, 10).await;
    let other = mongodb::IndexModel::builder()
        .keys(mongodb::bson::doc! { "something": 1 })
        .options(mongodb::options::IndexOptions::builder().name("by_orders".to_owned()).build());
    world.documents().await.create_index(other.build()).await.unwrap();
    let report = world.run(1, 1).await.unwrap();
    assert_eq!((report.outcome, report.counts.written), (RunOutcome::Failed, 0), "{report:?}");
    assert!(report.reason.contains("mongodb: ") && report.reason.contains("by_orders"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_breaks_its_contract_fails_the_run_and_changes_nothing() {
    let mut world = World::shared().await;
    world.fill(1, 0, 10).await;
    for (query, reason) in [
        ("SELECT household_id, amount FROM rows", "does not return `orders`"),
        ("SELECT household_id, amount, orders, at FROM rows", "returns `at`"),
        ("SELECT household_id, amount, orders FROM no_such_table", "no_such_table"),
        ("SELECT household_id, amount, at AS orders, at AS event_time FROM rows", "returns `event_time` as Date"),
        // Writes, in a place where a query may stand, are for the server to refuse.
        ("SELECT * FROM (INSERT INTO rows SELECT * FROM rows)", "refused"),
    ] {
        world.definitions = definitions(query);
        let report = world.run(0, 1).await.unwrap();
        assert_eq!(report.outcome, RunOutcome::Failed, "{query}");
        assert!(report.reason.contains(reason), "{query}: {}", report.reason);
    }
    let count = world.stores.clickhouse.client().query_raw("SELECT count() FROM rows").fetch_one::<u64>().await;
    assert_eq!(count.unwrap(), 10);
    assert_eq!(world.served(1).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_the_future_is_refused_and_no_clock_can_settle_the_ticks_to_come() {
    let world = World::shared().await;
    world.fill(1, 0, 10).await;
    let now = job::now(&world.stores.log).await.unwrap();
    let error = world.run_of(Job { as_of: now + DAY, ..world.job(0, 1) }).await.unwrap_err();
    assert!(matches!(&error, JobError::Invalid(why) if why.contains("in the future")), "{error}");
    assert_eq!(world.state(0).await, JobState::default(), "nothing has begun");

    // As a process would whose clock and check are wrong.
    let (log, id) = (&world.stores.log, world.view(0).id());
    let key = log.names().job(&id);
    let token = acquire(log, &key, "wrong", Duration::from_secs(5)).await.unwrap().token;
    assert!(job::begin(log, &id, &token, now + DAY).await.unwrap());
    let ending =
        RunEnding { outcome: RunOutcome::Failed, counts: &RunCounts::default(), reason: "a test", failed_keys: &[] };
    let number = u32::try_from(token.epoch).unwrap();
    assert!(job::finish(log, &id, &token, number, &ending).await.unwrap());
    assert!(lease::release(log, &key, &token).await.unwrap());
    let soon = job::now(log).await.unwrap() + 60_000;
    let state = world.state(0).await;
    assert!(state.settled.unwrap() <= soon, "a later tick is due");
    assert_eq!((state.first, state.last, state.owner), (Some(now + DAY), Some(RunOutcome::Failed), None));

    // And a record from before that rule is mended by the next run.
    let late = (now + DAY).to_string();
    let () = redis::cmd("HSET").arg(&[&key, "settled", &late]).query_async(&mut world.redis().await).await.unwrap();
    world.run(0, 1).await.unwrap();
    assert!(world.state(0).await.settled.unwrap() <= job::now(log).await.unwrap() + 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_process_died_is_nobodys_until_the_next_one_calls_it_abandoned() {
    let world = World::shared().await;
    world.fill(1, 0, 10).await;
    let (log, id) = (&world.stores.log, world.view(0).id());
    let begin = async |owner: &str, lease: Duration| {
        let token = acquire(log, &log.names().job(&id), owner, lease).await.unwrap().token;
        assert!(job::begin(log, &id, &token, MIDNIGHT).await.unwrap());
    };
    begin("first", Duration::from_secs(600)).await;
    assert_eq!(world.state(0).await.owner.as_deref(), Some("first"));
    begin("first", Duration::from_millis(1)).await;
    eventually("its lease runs out", async || world.state(0).await.owner.is_none()).await;
    let died = world.state(0).await;
    assert_eq!(died.running.unwrap().run.number, 2, "it has not ended");
    assert_eq!((died.last, died.first), (Some(RunOutcome::Abandoned), Some(MIDNIGHT)), "{died:?}");

    assert_eq!(world.run(0, 1).await.unwrap().outcome, RunOutcome::Succeeded);
    let after = world.state(0).await;
    assert_eq!((after.running, after.last, after.first), (None, Some(RunOutcome::Succeeded), Some(MIDNIGHT)));
    let outcomes: Vec<_> = job::runs(log, &id, 10).await.unwrap().into_iter().map(|run| run.outcome).collect();
    assert_eq!(outcomes, [RunOutcome::Succeeded, RunOutcome::Abandoned, RunOutcome::Abandoned]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_told_to_stop_says_so_and_the_next_one_is_whole() {
    let world = World::shared().await;
    world.fill(1, 0, 100_000).await;
    let (progress, stop) = (Arc::new(RunProgress::default()), CancellationToken::new());
    let stopping = async {
        eventually("some rows are written", async || progress.counts().written > 0).await;
        stop.cancel();
    };
    let job = world.job(0, 1);
    let (report, ()) = tokio::join!(run(&world.stores, &job, &progress, &stop), stopping);
    let report = report.unwrap();
    assert_eq!(report.outcome, RunOutcome::Interrupted);
    assert!(report.counts.written < 100_000 && world.completed(0).await.is_none());
    let whole = world.run(0, 1).await.unwrap();
    assert_eq!((whole.outcome, whole.counts.written), (RunOutcome::Succeeded, 100_000));
}

/// Passes everything on to ClickHouse, but stops the answers of a connection after `after` bytes, and closes it once
/// `break_off` is cancelled. Connections that are opened later get whole answers.
async fn breaking(url: &str, after: u64, break_off: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let to = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, told) = (TcpStream::connect(&to).await.unwrap(), break_off.clone());
            let bytes = if told.is_cancelled() { u64::MAX } else { after };
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                let answer = async {
                    let passed = tokio::io::copy(&mut from_server.take(bytes), &mut to_client).await;
                    if passed.is_ok_and(|passed| passed == bytes) {
                        told.cancelled().await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    () = answer => {}
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_asked_for_again_within_the_run() {
    let mut world = World::shared().await;
    world.fill(1, 0, 60_000).await;
    let break_off = CancellationToken::new();
    let url = breaking(world.stack.clickhouse_url(), 600_000, break_off.clone()).await;
    let namespace = world.stores.log.names().namespace().to_owned();
    world.stores.clickhouse = clickhouse::ClickHouse::connect(&url, &namespace).unwrap();
    let progress = Arc::new(RunProgress::default());
    let breaking = async {
        eventually("some rows are written", async || progress.counts().written > 0).await;
        break_off.cancel();
    };
    let (job, stop) = (world.job(0, 1), CancellationToken::new());
    let (report, ()) = tokio::join!(run(&world.stores, &job, &progress, &stop), breaking);
    let report = report.unwrap();
    let RunCounts { rows, written, already, failed } = report.counts;
    assert_eq!((report.outcome, rows, written, already, failed), (RunOutcome::Succeeded, 60_000, 60_000, 0, 0));
    assert_eq!(report.run.number, 1, "it is one run");
    assert_eq!(world.served(59_999).await, Some(json!("1.50")));
}

/// How often connections are killed while a run writes: about ten seconds of trouble.
const KILL_ROUNDS: usize = 300;

/// A resent put finds what the first one wrote, which looks as if the key had come twice.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_make_no_key_come_twice_and_hide_none_that_does() {
    let dir = tempfile::tempdir().unwrap();
    let options = StackOptions {
        mongodb_url: Some(shared_for_tests(test_dir()).await.unwrap().mongodb_url().to_owned()),
        clickhouse_url: Some(shared_for_tests(test_dir()).await.unwrap().clickhouse_url().to_owned()),
        ..StackOptions::new(dir.path())
    };
    let mut world = World::on(Stack::up(options).await.unwrap()).await;
    let numbers =
        "SELECT toInt64(number) AS household_id, '1.50' AS amount, toInt64(number) AS orders FROM numbers(100000)";
    let again = |amount: &str| format!("{numbers} UNION ALL SELECT toInt64(7), '{amount}', toInt64(7)");
    for (query, failed) in [(numbers.to_owned(), vec![]), (again("1.50"), vec![]), (again("9.99"), vec!["7"])] {
        world.definitions = definitions(&query);
        let mut redis = world.redis().await;
        let done = CancellationToken::new();
        let kill = async {
            let mut kills = 0;
            // On a machine too busy to write a chunk within a pause, the run ends once the kills have ended.
            for _ in 0..KILL_ROUNDS {
                if done.run_until_cancelled(tokio::time::sleep(Duration::from_millis(30))).await.is_none() {
                    break;
                }
                let mut kill = redis::cmd("CLIENT");
                kills += kill.arg(&["KILL", "TYPE", "normal"]).query_async::<i64>(&mut redis).await.unwrap();
            }
            kills
        };
        let run = async {
            let report = loop {
                match world.run(0, 1).await {
                    // The run before could not give its lease back: the connection was gone.
                    Err(JobError::Held { .. }) => tokio::time::sleep(Duration::from_millis(300)).await,
                    report => break report.unwrap(),
                }
            };
            done.cancel();
            report
        };
        let (report, kills) = tokio::join!(run, kill);
        assert!(kills > 0, "too fast to be disturbed");
        let keys: Vec<&str> = report.failed_keys.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, failed, "{report:?}");
        assert_eq!(
            report.outcome,
            if failed.is_empty() { RunOutcome::Succeeded } else { RunOutcome::Failed },
            "{report:?}"
        );
    }
    world.stack.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_utf8_is_a_failed_row() {
    let mut world = World::shared().await;
    let query = "SELECT toInt64(number) AS household_id, if(number = 3, unhex('31FF'), '1.50') AS amount, \
                 toInt64(number) AS orders FROM numbers(10)";
    world.definitions = definitions(query);
    let report = world.run(0, 1).await.unwrap();
    assert_eq!((report.outcome, report.counts.written, report.counts.failed), (RunOutcome::Failed, 9, 1), "{report:?}");
    assert!(report.failed_keys[0].1.contains("not UTF-8"), "{report:?}");
}

/// Each online store goes away while rows are on their way, and the warehouse before it is asked; they come back: the run
/// waits and is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StackOptions::new(dir.path());
    options.redis_fsync_always = true;
    let world = World::on(Stack::up(options).await.unwrap()).await;
    world.fill(1, 0, 60_000).await;
    world.fill(2, 0, 4_000).await;
    for (view, day, rows, store) in [
        (0, 1, 60_000, world.stack.redis().clone()),
        (1, 2, 4_000, world.stack.mongodb().clone()),
        (0, 1, 60_000, world.stack.clickhouse().clone()),
    ] {
        let progress = Arc::new(RunProgress::default());
        let outage = async {
            if store.url() != world.stack.clickhouse_url() {
                eventually("some rows are written", async || progress.counts().written > 0).await;
                store.kill().unwrap();
            }
            eventually("it waits", async || progress.waiting_for().is_some()).await;
            store.start().await.unwrap();
        };
        if store.url() == world.stack.clickhouse_url() {
            store.kill().unwrap();
        }
        let (job, stop) = (world.job(view, day), CancellationToken::new());
        let (report, ()) = tokio::join!(run(&world.stores, &job, &progress, &stop), outage);
        let report = report.unwrap();
        assert_eq!(report.outcome, RunOutcome::Succeeded, "{report:?}");
        assert_eq!((report.counts.rows, report.counts.failed), (rows, 0));
        assert_eq!(world.completed(view).await.unwrap().run, report.run);
    }
    assert_eq!(world.served(59_999).await, Some(json!("1.50")));
    world.stack.down().await.unwrap();
}
