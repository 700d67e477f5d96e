//! Makes a log and opens one: its properties, streams and groups, and the check that Redis is set up to keep the entries that
//! it has accepted.

use millrace_core::partition::{HASH_NAME, Partition};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use std::collections::BTreeMap;

use super::error::{LogError, failed, unexpected};
use super::group::Group;
use super::link::Link;
use super::meta::{FORMAT, LogMeta};
use super::{functions, memory};
use crate::names::Names;

const READ_META: &str = "read the properties of the log";

pub(super) async fn create(link: &Link, names: &Names, meta: &LogMeta) -> Result<(), LogError> {
    let mut connection = link.connect_unfenced().await.map_err(failed("connect to the log"))?;
    memory::check_policy(&mut connection).await?;
    if let Some(stored) = read_meta(&mut connection, names).await? {
        same(&stored, meta)?;
    }
    functions::load(&mut connection).await?;
    for partition in (0..meta.partitions).map(Partition) {
        for group in Group::ALL {
            create_group(&mut connection, names, partition, group).await?;
        }
    }
    write_meta(&mut connection, names, meta).await?;
    // Two processes that create a log at once both read what the first one wrote.
    let stored = read_meta(&mut connection, names).await?.ok_or_else(|| unexpected(READ_META, &"nothing"))?;
    same(&stored, meta)
}

pub(super) async fn open(link: &Link, names: &Names) -> Result<LogMeta, LogError> {
    let mut connection = link.connect_unfenced().await.map_err(failed("connect to the log"))?;
    let meta = read_meta(&mut connection, names).await?;
    let meta = meta.ok_or_else(|| LogError::NotCreated(names.namespace().to_owned()))?;
    if meta.hash != HASH_NAME {
        return Err(LogError::Unknown { what: "key hash", stored: meta.hash });
    }
    if meta.format != FORMAT {
        return Err(LogError::Unknown { what: "format", stored: meta.format.to_string() });
    }
    memory::check_policy(&mut connection).await?;
    functions::check(&mut connection).await?;
    Ok(meta)
}

async fn create_group(
    connection: &mut MultiplexedConnection,
    names: &Names,
    partition: Partition,
    group: Group,
) -> Result<(), LogError> {
    let mut command = redis::cmd("XGROUP");
    command.arg("CREATE").arg(names.events(partition)).arg(names.group(group)).arg("0").arg("MKSTREAM");
    // Without the count, Redis would not know the lag of a group that has read nothing.
    command.arg("ENTRIESREAD").arg(0);
    let made: RedisResult<()> = command.exec_async(connection).await;
    match made {
        Err(error) if error.code() != Some("BUSYGROUP") => Err(failed("create a consumer group")(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn write_meta(connection: &mut MultiplexedConnection, names: &Names, meta: &LogMeta) -> Result<(), LogError> {
    let mut pipeline = redis::pipe();
    let fields = [
        ("partitions", meta.partitions.to_string()),
        ("dedupe_ms", meta.dedupe_ms.to_string()),
        ("hash", meta.hash.clone()),
        ("format", meta.format.to_string()),
    ];
    pipeline.atomic();
    for (field, value) in fields {
        pipeline.cmd("HSETNX").arg(names.log()).arg(field).arg(value).ignore();
    }
    pipeline.exec_async(connection).await.map_err(failed("write the properties of the log"))
}

async fn read_meta(connection: &mut MultiplexedConnection, names: &Names) -> Result<Option<LogMeta>, LogError> {
    let mut command = redis::cmd("HGETALL");
    command.arg(names.log());
    let fields: BTreeMap<String, String> = command.query_async(connection).await.map_err(failed(READ_META))?;
    if fields.is_empty() {
        return Ok(None);
    }
    let broken = || unexpected(READ_META, &fields);
    let field = |name: &str| fields.get(name).ok_or_else(broken);
    Ok(Some(LogMeta {
        partitions: field("partitions")?.parse().map_err(|_| broken())?,
        dedupe_ms: field("dedupe_ms")?.parse().map_err(|_| broken())?,
        hash: field("hash")?.clone(),
        format: field("format")?.parse().map_err(|_| broken())?,
    }))
}

fn same(stored: &LogMeta, wanted: &LogMeta) -> Result<(), LogError> {
    let different = |what, stored: &dyn ToString, wanted: &dyn ToString| {
        Err(LogError::Different { what, stored: stored.to_string(), wanted: wanted.to_string() })
    };
    if stored.partitions != wanted.partitions {
        return different("partitions", &stored.partitions, &wanted.partitions);
    }
    if stored.dedupe_ms != wanted.dedupe_ms {
        return different("the duplicate horizon in ms", &stored.dedupe_ms, &wanted.dedupe_ms);
    }
    if stored.hash != wanted.hash {
        return different("the key hash", &stored.hash, &wanted.hash);
    }
    if stored.format != wanted.format {
        return different("the format", &stored.format, &wanted.format);
    }
    Ok(())
}
