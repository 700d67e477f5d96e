//! Definitions beside the log: numbered, immutable versions, and the position of each partition from which each is in force.
//! Whether a version may follow another is left to the caller of `apply`.

use millrace_core::definitions::DefinitionsSource;
use millrace_core::entry::Control;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use serde::{Deserialize, Serialize};

use super::error::{LogError, unexpected};
use super::{Log, functions, value};
use crate::clock::now_ms;

/// One row of a partition's table: from `position` on, `version` is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The control entry's position.
    pub position: Position,
    /// The version of the definitions.
    pub version: u32,
    /// The lowest engine that understands them.
    pub engine: u32,
}

/// The stored form of a version.
#[derive(Serialize, Deserialize)]
struct StoredDefinitions {
    engine: u32,
    #[serde(flatten)]
    source: DefinitionsSource,
}

/// Puts `source` in force in every partition and returns its version: stores it as the next version, then appends a control
/// entry to each partition. If `source` equals the latest version, the call only completes one that was interrupted. A
/// partition that lacks earlier versions gets those first.
pub async fn apply(log: &Log, source: &DefinitionsSource, engine: u32) -> Result<u32, LogError> {
    let latest = latest(log).await?;
    let same = match latest {
        0 => false,
        version => stored(log, version).await?.is_some_and(|stored| stored.source == *source),
    };
    let version = if same { latest } else { latest + 1 };
    if !same {
        store(log, version, source, engine).await?;
    }
    note_latest(log, version).await?;
    let mut engines = Vec::new();
    for number in 1..=version {
        engines.push(stored(log, number).await?.map_or(engine, |stored| stored.engine));
    }
    for partition in log.partitions() {
        let known = in_force(log, partition).await?.len();
        for (number, engine) in (1..=version).zip(&engines).skip(known) {
            control(log, partition, Control { version: number, engine: *engine }).await?;
        }
    }
    Ok(version)
}

/// The definitions of a version. None where it was never stored.
pub async fn definitions(log: &Log, version: u32) -> Result<Option<DefinitionsSource>, LogError> {
    Ok(stored(log, version).await?.map(|stored| stored.source))
}

/// The highest version that is stored, whether or not it is in force everywhere; 0 where no version is stored.
pub async fn latest(log: &Log) -> Result<u32, LogError> {
    const DOING: &str = "find the latest definitions";
    let mut command = redis::cmd("HGET");
    command.arg(log.names().definitions()).arg("latest");
    let noted = value::number(&log.link_ref().query(DOING, &command).await?).unwrap_or(0);
    let mut latest = u32::try_from(noted).map_err(|_| unexpected(DOING, &noted))?;
    // An `apply` may have ended between storing a version and noting it.
    loop {
        let mut command = redis::cmd("EXISTS");
        command.arg(log.names().definitions_version(latest + 1));
        match value::number(&log.link_ref().query(DOING, &command).await?) {
            Some(1) => latest += 1,
            _ => return Ok(latest),
        }
    }
}

/// The versions in force in a partition, oldest first.
pub async fn in_force(log: &Log, partition: Partition) -> Result<Vec<InForce>, LogError> {
    const DOING: &str = "read which definitions are in force";
    let mut command = redis::cmd("HGETALL");
    command.arg(log.names().versions(partition));
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = || unexpected(DOING, &"a row of another shape");
    let row = |(version, row): (String, String)| {
        let (position, engine) = row.split_once(' ')?;
        Some(InForce { position: position.parse().ok()?, version: version.parse().ok()?, engine: engine.parse().ok()? })
    };
    let rows = value::hash_fields(reply).ok_or_else(wrong)?.into_iter().map(row);
    let mut rows = rows.collect::<Option<Vec<InForce>>>().ok_or_else(wrong)?;
    rows.sort_unstable_by_key(|row| row.version);
    Ok(rows)
}

/// The newest version that is in force in all partitions: the one that ingest may use. None before the first `apply`.
pub async fn everywhere(log: &Log) -> Result<Option<u32>, LogError> {
    const DOING: &str = "find the definitions that are in force everywhere";
    let mut pipeline = redis::Pipeline::new();
    for partition in log.partitions() {
        pipeline.cmd("HLEN").arg(log.names().versions(partition));
    }
    let counts = log.link_ref().query_all(DOING, &pipeline).await?;
    // Versions are numbered from 1 without a gap, so their count is the newest.
    let least = counts.iter().map(|count| value::number(count).unwrap_or(0)).min().unwrap_or(0);
    let version = u32::try_from(least).map_err(|_| unexpected(DOING, &least))?;
    Ok((version > 0).then_some(version))
}

async fn stored(log: &Log, version: u32) -> Result<Option<StoredDefinitions>, LogError> {
    let mut command = redis::cmd("GET");
    command.arg(log.names().definitions_version(version));
    let Some(json) = value::text(log.link_ref().query("read definitions", &command).await?) else { return Ok(None) };
    serde_json::from_str(&json).map(Some).map_err(|source| LogError::Definitions { version, source })
}

async fn store(log: &Log, version: u32, source: &DefinitionsSource, engine: u32) -> Result<(), LogError> {
    let json = serde_json::to_string(&StoredDefinitions { engine, source: source.clone() })
        .map_err(|source| LogError::Definitions { version, source })?;
    let mut command = redis::cmd("SET");
    command.arg(log.names().definitions_version(version)).arg(json).arg("NX");
    let reply = log.link_ref().query("store definitions", &command).await?;
    // Another process has stored this version meanwhile: the same definitions, or others.
    if reply == redis::Value::Nil && !stored(log, version).await?.is_some_and(|stored| stored.source == *source) {
        return Err(LogError::Overtaken(version));
    }
    Ok(())
}

async fn note_latest(log: &Log, version: u32) -> Result<(), LogError> {
    let mut command = redis::cmd("HSET");
    command.arg(log.names().definitions()).arg("latest").arg(version).arg("applied_at_ms").arg(now_ms());
    log.link_ref().query("note the latest definitions", &command).await.map(drop)
}

/// Appends the control entry and its row in one step. Returns the entry's position, also where it was appended before.
async fn control(log: &Log, partition: Partition, control: Control) -> Result<Position, LogError> {
    const DOING: &str = "put definitions in force";
    let names = log.names();
    let mut command = functions::call(functions::CONTROL, &[&names.events(partition), &names.versions(partition)]);
    command.arg(control.version).arg(control.engine);
    for (name, value) in control.fields() {
        command.arg(name).arg(value);
    }
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    let mut parts = value::array(reply).unwrap_or_default().into_iter();
    match (parts.next().and_then(value::text).as_deref(), parts.next()) {
        (Some("ok"), Some(position)) => value::position(&position).ok_or(wrong),
        _ => Err(wrong),
    }
}
