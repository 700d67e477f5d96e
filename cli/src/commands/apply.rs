//! `millrace apply`: checks definitions against all earlier ones, then makes them part of the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::log::{Log, registry};
use millrace_common::names::Names;
use millrace_common::stores::clickhouse::ClickHouse;
use millrace_common::worker::DefinitionsCache;
use millrace_core::codec::ENGINE;
use millrace_core::definitions::{Definitions, DefinitionsSource};

/// Puts definitions in force: stored beside the log under the next number, and from one entry on in each partition.
/// Applying the same again changes nothing.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The definitions (YAML). Schemas are read from paths relative to it.
    pub file: PathBuf,

    /// Only check.
    #[arg(long)]
    pub check: bool,

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
        bail!("{} defines nothing; in force, it would remove every view for good", args.file.display());
    }
    if args.check {
        println!("{}: {} views, {} services", args.file.display(), definitions.views.len(), definitions.services.len());
        return Ok(());
    }
    let version = apply(&args.stores, source, &definitions).await?;
    println!("definitions version {version} in force");
    Ok(())
}

async fn apply(stores: &StoreConfig, source: DefinitionsSource, definitions: &Definitions) -> anyhow::Result<u32> {
    let log = Log::open(&stores.redis_url, Names::new(&stores.namespace)).await?;
    let cache = DefinitionsCache::new(log.clone());
    let latest = registry::latest(&log).await?;
    let mut earlier = Vec::new();
    for version in 1..=latest {
        earlier.push(cache.get(version).await?);
    }
    let earlier: Vec<&Definitions> = earlier.iter().map(AsRef::as_ref).collect();
    let conflicts = definitions.conflicts_with(&earlier);
    if !conflicts.is_empty() {
        bail!("these definitions cannot follow version {latest}:\n{}", conflicts.join("\n"));
    }
    // The warehouse first: no event of a new type may arrive before its columns are there.
    let clickhouse = ClickHouse::connect(&stores.clickhouse_url, &stores.namespace)?;
    clickhouse.apply_definitions(definitions).await?;
    let version = registry::apply(&log, &source, ENGINE).await?;
    clickhouse.record_definitions(definitions, version).await?;
    Ok(version)
}

/// The YAML, with every schema file that it names.
pub fn read(file: &Path) -> anyhow::Result<DefinitionsSource> {
    let yaml = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut schemas = BTreeMap::new();
    for name in DefinitionsSource::schema_paths(&yaml) {
        let path = folder.join(&name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let schema = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        schemas.insert(name, schema);
    }
    Ok(DefinitionsSource { yaml, schemas })
}
