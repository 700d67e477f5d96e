//! `millrace apply`: checks definitions against all earlier versions, then makes them part of the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::log::{Log, LogError, registry};
use millrace_common::stores::clickhouse::{ClickHouse, ClickHouseError};
use millrace_common::worker::DefinitionsCache;
use millrace_core::codec::ENGINE;
use millrace_core::definitions::{Definitions, DefinitionsSource, SchemaFile};
use millrace_core::sql::batch_parse;

use super::definitions::open_log;

/// Puts definitions in force. They are stored beside the log under the next version number, and count from one entry on in
/// each partition. Applying the same definitions again changes nothing.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The definitions (YAML). Schemas are read from paths relative to it.
    pub file: PathBuf,

    /// Change nothing and check the definitions: the files; with Redis, whether they may follow the versions that were
    /// applied before; with ClickHouse, the queries of batch views.
    #[arg(long)]
    pub check: bool,

    /// Accept definitions without any view after definitions with views. Every feature ends for good: none of them comes
    /// back under the same version.
    #[arg(long)]
    pub remove_all_views: bool,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,
}

/// Checks and applies.
pub async fn run(args: ApplyArgs) -> anyhow::Result<()> {
    let source = read(&args.file)?;
    let definitions =
        Definitions::compile(source.clone()).with_context(|| format!("{} is not valid", args.file.display()))?;
    if definitions.entities.is_empty() {
        bail!("{} defines nothing; to apply it would remove every view for good", args.file.display());
    }
    if args.check {
        let follows = check(&args.stores, &definitions, args.remove_all_views).await?;
        let (views, services) = (definitions.views.len(), definitions.services.len());
        let unread = check_queries(&args.stores, &definitions).await?;
        println!("{}: {views} views, {services} services; {follows}{unread}", args.file.display());
        return Ok(());
    }
    let version = apply(&args.stores, source, &definitions, args.remove_all_views).await?;
    println!("definitions version {version} in force");
    Ok(())
}

/// Returns a sentence on whether these definitions may follow those in force, or the reason why they may not.
pub async fn check(stores: &StoreConfig, definitions: &Definitions, remove_all_views: bool) -> anyhow::Result<String> {
    let log = match open_log(stores).await {
        Ok(log) => log,
        Err(LogError::NotCreated(namespace)) => {
            return Ok(format!(
                "only the files were checked: there is no log under `{namespace}` yet, so nothing was applied before"
            ));
        }
        Err(error) => {
            return Ok(format!("only the files were checked, not against the versions applied before: {error}"));
        }
    };
    Ok(match may_follow(&log, definitions, remove_all_views).await? {
        0 => "nothing was applied before".to_owned(),
        latest => format!("may follow version {latest}"),
    })
}

/// Lets ClickHouse parse the queries of batch views. Returns a sentence about why it could not, which is empty if it
/// could; a query that ClickHouse does not accept is an error.
pub async fn check_queries(stores: &StoreConfig, definitions: &Definitions) -> anyhow::Result<String> {
    let clickhouse = ClickHouse::connect(&stores.clickhouse_url, &stores.namespace)?;
    match read_queries(&clickhouse, definitions).await {
        Ok(()) => Ok(String::new()),
        Err((view, error)) if error.is_syntax() => Err(unreadable_query(&view, error)),
        Err((_, error)) => Ok(format!("; the queries of batch views were not checked: {error}")),
    }
}

/// Fails with the first view whose query ClickHouse does not accept. A table that does not exist yet is accepted.
async fn read_queries(clickhouse: &ClickHouse, definitions: &Definitions) -> Result<(), (String, ClickHouseError)> {
    for view in &definitions.views {
        if let Some(batch) = &view.batch {
            let parsed = clickhouse.batch_parse(&batch_parse(&batch.query)).await;
            parsed.map_err(|error| (view.id(), error))?;
        }
    }
    Ok(())
}

fn unreadable_query(view: &str, error: ClickHouseError) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("failed to read the query of view `{view}`"))
}

async fn apply(
    stores: &StoreConfig,
    source: DefinitionsSource,
    definitions: &Definitions,
    remove_all_views: bool,
) -> anyhow::Result<u32> {
    let log = open_log(stores).await?;
    may_follow(&log, definitions, remove_all_views).await?;
    // The warehouse first: no event of a new type may arrive before its columns are there.
    let clickhouse = ClickHouse::connect(&stores.clickhouse_url, &stores.namespace)?;
    read_queries(&clickhouse, definitions).await.map_err(|(view, error)| unreadable_query(&view, error))?;
    clickhouse.apply_definitions(definitions).await?;
    let version = registry::apply(&log, &source, ENGINE).await?;
    clickhouse.record_definitions(definitions, version).await?;
    Ok(version)
}

/// Returns the latest version if these definitions may follow it, and an error with the reason otherwise.
async fn may_follow(log: &Log, definitions: &Definitions, remove_all_views: bool) -> anyhow::Result<u32> {
    let cache = DefinitionsCache::new(log.clone());
    let latest = registry::latest(log).await?;
    let mut earlier = Vec::new();
    for version in 1..=latest {
        earlier.push(cache.get(version).await?);
    }
    let earlier: Vec<&Definitions> = earlier.iter().map(AsRef::as_ref).collect();
    let conflicts = definitions.conflicts_with(&earlier);
    if !conflicts.is_empty() {
        bail!("these definitions cannot follow version {latest}:\n{}", conflicts.join("\n"));
    }
    let ended = earlier.last().map_or(0, |last| last.views.len());
    if definitions.views.is_empty() && ended > 0 && !remove_all_views {
        bail!(
            "these definitions have no view, and would end all {ended} for good; use --remove-all-views if that is meant"
        );
    }
    Ok(latest)
}

/// The YAML, with every schema file that it names.
pub fn read(file: &Path) -> anyhow::Result<DefinitionsSource> {
    let yaml = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut schemas = BTreeMap::new();
    for SchemaFile { path, event, line } in DefinitionsSource::schema_files(&yaml) {
        let file = folder.join(&path);
        let at = |what: &str| format!("line {line}: event `{event}`: {what} {}", file.display());
        let text = std::fs::read_to_string(&file).with_context(|| at("failed to read its schema"))?;
        let schema = serde_json::from_str(&text).with_context(|| at("its schema is not JSON:"))?;
        schemas.insert(path, schema);
    }
    Ok(DefinitionsSource { yaml, schemas })
}
