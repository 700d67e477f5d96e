//! `apply --check` against a real log: it gives the answer of `apply`, and says which parts it could not check.

use clap::Parser;
use millrace::commands::{apply, migrate};
use millrace_common::config::StoreConfig;
use millrace_common::log::{Log, LogMeta, registry};
use millrace_common::names::Names;
use millrace_core::codec::ENGINE;
use millrace_core::definitions::{Definitions, DefinitionsSource};

const YAML: &str = "entities: { user: { key: user_id, type: int64 } }
events: { click: { partition_by: user } }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: n, agg: count, windows: [1h] }] }
";

#[derive(Parser)]
struct Stores {
    #[command(flatten)]
    stores: StoreConfig,
}

fn stores(redis: &str, namespace: &str) -> StoreConfig {
    Stores::parse_from(["x", "--redis-url", redis, "--namespace", namespace]).stores
}

fn source(yaml: &str) -> DefinitionsSource {
    DefinitionsSource { yaml: yaml.to_owned(), schemas: Default::default() }
}

fn compile(yaml: &str) -> Definitions {
    Definitions::compile(source(yaml)).unwrap()
}

#[tokio::test]
async fn a_check_answers_as_apply_would() {
    let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| stack.redis_url().to_owned());
    let namespace = format!("test_check_{}", millrace_common::clock::now_ms());
    let stores = stores(&url, &namespace);
    let said = apply::check(&stores, &compile(YAML), false).await.unwrap();
    assert!(said.contains("only the files were checked: there is no log under"), "{said}");

    let log = Log::create(&url, Names::new(&namespace), LogMeta::new(2, 300_000)).await.unwrap();
    assert_eq!(apply::check(&stores, &compile(YAML), false).await.unwrap(), "nothing was applied before");
    registry::apply(&log, &source(YAML), ENGINE).await.unwrap();
    assert_eq!(apply::check(&stores, &compile(YAML), false).await.unwrap(), "may follow version 1");
    let changed = compile(&YAML.replace("[1h]", "[2h]"));
    let refused = apply::check(&stores, &changed, false).await.unwrap_err().to_string();
    assert!(refused.contains("view `clicks@1` has changed; give it `version: 2`"), "{refused}");
    let none = compile(YAML.split("views:").next().unwrap());
    let refused = apply::check(&stores, &none, false).await.unwrap_err().to_string();
    assert!(refused.contains("would end all 1 for good; use --remove-all-views"), "{refused}");
    assert_eq!(apply::check(&stores, &none, true).await.unwrap(), "may follow version 1");
}

#[tokio::test]
async fn clickhouse_reads_the_queries_before_anything_is_applied() {
    let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| stack.redis_url().to_owned());
    let namespace = format!("test_queries_{}", millrace_common::clock::now_ms());
    let mut stores = stores(&url, &namespace);
    (stores.clickhouse_url, stores.mongodb_url) = (stack.clickhouse_url().to_owned(), stack.mongodb_url().to_owned());
    let view = |query: &str| {
        format!(
            "{YAML}  - {{ name: rows, entity: user, query: \"{query}\", features: [{{ name: n, type: int64 }}] }}\n"
        )
    };
    let good = view(
        "SELECT user_id, count() AS n FROM no_table_yet WHERE t < {as_of:DateTime64(3, 'UTC')} GROUP BY user_id SETTINGS max_threads = 1",
    );
    let said = apply::check_queries(&stores, &compile(&good)).await.unwrap();
    assert!(said.contains("the queries of batch views were not checked"), "there is no database yet: {said}");
    migrate::run(migrate::MigrateArgs { partitions: 2, stores: stores.clone() }).await.unwrap();
    assert_eq!(apply::check_queries(&stores, &compile(&good)).await.unwrap(), "");
    for bad in ["SELECT user_id n FRO x y", "SELECT user_id, n FROM x WHERE", "SELECT user_id FROM x, INSERT INTO x"] {
        let said = format!("{:#}", apply::check_queries(&stores, &compile(&view(bad))).await.unwrap_err());
        assert!(said.starts_with("failed to read the query of view `rows@1`: ClickHouse refused"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("definitions.yaml");
        std::fs::write(&file, view(bad)).unwrap();
        let args = apply::ApplyArgs { file, check: false, remove_all_views: false, stores: stores.clone() };
        assert!(format!("{:#}", apply::run(args).await.unwrap_err()).starts_with("failed to read the query"));
    }
    let log = Log::open(&url, Names::new(&namespace)).await.unwrap();
    assert_eq!(registry::latest(&log).await.unwrap(), 0);
    stores.clickhouse_url = "http://127.0.0.1:1".into();
    assert!(apply::check_queries(&stores, &compile(&good)).await.unwrap().contains("were not checked"));
}

#[test]
fn a_schema_that_cannot_be_read_is_told_with_the_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("definitions.yaml");
    std::fs::write(&file, YAML.replace("partition_by: user }", "partition_by: user, schema: click.json }")).unwrap();
    let said = || format!("{:#}", apply::read(&file).unwrap_err());
    assert!(said().starts_with("line 2: event `click`: failed to read its schema"), "{}", said());
    std::fs::write(folder.path().join("click.json"), "{").unwrap();
    assert!(said().starts_with("line 2: event `click`: its schema is not JSON"), "{}", said());
    std::fs::write(folder.path().join("click.json"), "{}").unwrap();
    assert_eq!(apply::read(&file).unwrap().schemas.len(), 1);
}

#[tokio::test]
async fn without_redis_a_check_says_that_it_saw_only_the_files() {
    let said = apply::check(&stores("redis://127.0.0.1:1", "test_check_away"), &compile(YAML), false).await.unwrap();
    assert!(
        said.starts_with("only the files were checked, not against the versions applied before: failed to connect"),
        "{said}"
    );
}
