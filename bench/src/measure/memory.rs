//! Bytes per entry of the log, per entity of the online state, and per row in ClickHouse. The installation stays filled, so
//! that other measurements can read its features.

use std::time::Instant;

use millrace_common::log::Group;
use millrace_devstack::services::ServiceKind;

use crate::config::Scale;
use crate::installation::Installation;
use crate::report::{Report, median, number};
use crate::stores::BenchStores;

/// How many hashes are sampled.
const SAMPLED: usize = 400;

/// An installation whose log was filled and drained.
pub async fn fill<'s>(stores: &'s BenchStores, scale: &Scale, report: &mut Report) -> anyhow::Result<Installation<'s>> {
    let installation = Installation::create(stores, "filled").await?;
    let empty = stores.used_memory().await?;
    installation.append(scale.entries).await?;
    let logged = stores.used_memory().await?;
    report.fact("Redis: bytes per entry of the log", per(logged - empty, scale.entries));
    installation.append_profiles().await?;
    for group in &scale.groups {
        let kind = if *group == Group::Online { ServiceKind::OnlineConsumer } else { ServiceKind::OfflineConsumer };
        let begun = Instant::now();
        let mut service = installation.start(kind)?;
        installation.drained(*group, begun).await?;
        service.stop()?;
    }
    if scale.groups.contains(&Group::Online) {
        online(&installation, logged, report).await?;
    }
    if scale.groups.contains(&Group::Offline) {
        offline(&installation, report).await?;
    }
    stores.settle().await?;
    Ok(installation)
}

async fn online(installation: &Installation<'_>, before: u64, report: &mut Report) -> anyhow::Result<()> {
    let stores = installation.stores;
    let used = stores.used_memory().await?.saturating_sub(before);
    let mut entities = 0;
    for entity in ["household", "product"] {
        let name = installation.log.names().entity(entity, "");
        let keys = stores.keys(name.trim_end_matches('}')).await?;
        entities += keys.len();
        let mut sizes = sizes(stores, &keys).await?;
        sizes.sort_by(f64::total_cmp);
        let largest = sizes.last().copied().unwrap_or_default();
        let text = format!("{} (largest of {}: {})", number(median(sizes.clone())), sizes.len(), number(largest));
        report.fact(format!("Redis: bytes of a {entity}'s hash, median of a sample; {} of them", keys.len()), text);
    }
    report.fact("Redis: bytes per entity, all state by all entities", per(used, entities));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a hash")]
async fn sizes(stores: &BenchStores, keys: &[String]) -> anyhow::Result<Vec<f64>> {
    let mut redis = stores.redis().await?;
    let mut sizes = Vec::with_capacity(SAMPLED);
    for key in keys.iter().step_by(keys.len().div_ceil(SAMPLED).max(1)) {
        let size: u64 = redis::cmd("MEMORY").arg(&["USAGE", key, "SAMPLES", "0"]).query_async(&mut redis).await?;
        sizes.push(size as f64);
    }
    Ok(sizes)
}

async fn offline(installation: &Installation<'_>, report: &mut Report) -> anyhow::Result<()> {
    let namespace = installation.namespace();
    let query = format!(
        "SELECT sum(rows), sum(data_compressed_bytes), sum(data_uncompressed_bytes), count() FROM system.parts \
         WHERE active AND database = '{namespace}' AND table = 'events' FORMAT TSV"
    );
    let text = installation.stores.clickhouse(query).await?;
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    if let [rows, compressed, plain, parts] = numbers[..] {
        let value =
            format!("{} ({} before compression; {parts} parts)", number(compressed / rows), number(plain / rows));
        report.fact("ClickHouse: bytes per row of `events`", value);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn per(bytes: u64, count: usize) -> String {
    number(bytes as f64 / count.max(1) as f64)
}
