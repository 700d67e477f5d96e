//! Keys/s of a batch view's run into Redis, beside the simplest program that does it: the same query read line by line and
//! written with pipelined HSETs of as many bytes. Both read from ClickHouse, and neither keeps more than it is writing.
#![expect(clippy::cast_precision_loss, reason = "keys of a run")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use redis::Pipeline;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::config::Scale;
use crate::cpu::Seconds;
use crate::installation::Installation;
use crate::report::{Aim, Report, Round, Row, number};
use crate::stores::BenchStores;

/// The namespace of the peer's keys.
const BARE: &str = "bare";
/// HSETs per pipeline, and pipelines at once.
const PIPELINE: usize = 1_000;
const IN_FLIGHT: usize = 4;
/// The pause between two looks at the process's CPU time and memory, which cannot be read after its end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Measures runs over as many households as the scale says.
pub async fn run(stores: &BenchStores, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let installation = Installation::create(stores, "materialize").await?;
    let query = format!(
        "SELECT number AS household_id, toDecimal64(number % 100000, 2) / 3 AS amount_7d, amount_7d * 4 AS amount_30d, \
         number % 9 AS orders_7d, number % 40 AS orders_30d FROM numbers({})",
        scale.keys
    );
    installation.apply(&definitions(&query))?;
    let mut row = Row::new(
        format!("materialize {} keys of four values", number(scale.keys as f64)),
        "keys/s",
        "SELECT → pipelined HSET",
        Some(Aim::Ratio(0.5)),
    );
    let mut peak = 0;
    for _ in 0..scale.rounds {
        let (ours, kilobytes) = ours(&installation, scale).await?;
        row.ours.push(ours);
        peak = peak.max(kilobytes);
        let value = value(&installation).await?;
        stores.delete(&format!("{}:f:", installation.namespace())).await?;
        stores.settle().await?;
        row.bare.push(bare(stores, scale, &query, value).await?);
        stores.delete(BARE).await?;
        stores.settle().await?;
        row.progress();
    }
    report.add(row);
    report.fact("materialize: peak memory of the process (VmHWM), MiB", number(f64::from(peak) / 1_024.0));
    installation.remove().await
}

fn definitions(query: &str) -> String {
    let feature = |name: &str, kind: &str| serde_json::json!({ "name": name, "type": kind });
    serde_json::json!({
        "entities": { "household": { "key": "household_id", "type": "int64" } },
        "views": [{
            "name": "bulk", "entity": "household", "query": query,
            "features": [
                feature("amount_7d", "decimal(18,2)"), feature("amount_30d", "decimal(18,2)"),
                feature("orders_7d", "int64"), feature("orders_30d", "int64"),
            ],
        }],
    })
    .to_string()
}

/// Measures the real command from begin to end. Returns its peak memory in KiB too.
async fn ours(installation: &Installation<'_>, scale: &Scale) -> anyhow::Result<(Round, u32)> {
    let mut command = tokio::process::Command::from(installation.command(&["materialize", "bulk", "--json"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("failed to run millrace")?;
    let processes = installation.stores.processes(child.id());
    let before = processes.read();
    let (mut peak, mut after) = (0, before.clone());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some(kilobytes) = child.id().and_then(peak_memory) {
            (peak, after) = (kilobytes, processes.read());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).await?;
    }
    let report: Value = serde_json::from_str(&said).unwrap_or_default();
    let seconds = report["seconds"].as_f64().filter(|_| status.success() && report["written"] == scale.keys);
    let Some(seconds) = seconds else { bail!("millrace materialize: {status} {said}") };
    Ok((Round::of(scale.keys as f64 / seconds, per_million(&before, &after, scale)), peak))
}

/// The value that the run wrote for one household.
async fn value(installation: &Installation<'_>) -> anyhow::Result<Vec<u8>> {
    let key = installation.log.names().entity("household", "77");
    let mut redis = installation.stores.redis().await?;
    Ok(redis::cmd("HGET").arg(key).arg("bulk@1|batch").query_async(&mut redis).await?)
}

async fn bare(stores: &BenchStores, scale: &Scale, query: &str, value: Vec<u8>) -> anyhow::Result<Round> {
    let processes = stores.processes(None);
    let (before, begun) = (processes.read(), Instant::now());
    let body = format!("{query} FORMAT JSONCompactEachRow");
    let mut answer = reqwest::Client::new().post(stores.stack.clickhouse_url()).body(body).send().await?;
    let mut connections = Vec::new();
    for _ in 0..IN_FLIGHT {
        connections.push(stores.redis().await?);
    }
    let (mut text, mut pipeline, mut sent) = (Vec::new(), Pipeline::with_capacity(PIPELINE), 0);
    let mut writes = JoinSet::new();
    while let Some(chunk) = answer.chunk().await? {
        text.extend_from_slice(&chunk);
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { continue };
        for line in text[..end].split(|byte| *byte == b'\n') {
            let household = line[1..].split(|byte| *byte == b',').next().unwrap_or_default();
            let household = String::from_utf8_lossy(household);
            let key = format!("{BARE}:f:{{household:{}}}", household.trim_matches('"'));
            pipeline.cmd("HSET").arg(key).arg("bulk@1|batch").arg(&value).ignore();
            if pipeline.len() == PIPELINE {
                send(&mut writes, &connections, &mut sent, std::mem::take(&mut pipeline)).await?;
            }
        }
        text.drain(..=end);
    }
    if !pipeline.is_empty() {
        send(&mut writes, &connections, &mut sent, pipeline).await?;
    }
    while let Some(written) = writes.join_next().await {
        written??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Round::of(scale.keys as f64 / seconds, per_million(&before, &processes.read(), scale)))
}

async fn send(
    writes: &mut JoinSet<redis::RedisResult<()>>,
    connections: &[redis::aio::MultiplexedConnection],
    sent: &mut usize,
    pipeline: Pipeline,
) -> anyhow::Result<()> {
    if writes.len() == IN_FLIGHT
        && let Some(written) = writes.join_next().await
    {
        written??;
    }
    let mut connection = connections[*sent % IN_FLIGHT].clone();
    *sent += 1;
    writes.spawn(async move { pipeline.exec_async(&mut connection).await });
    Ok(())
}

fn per_million(before: &Seconds, after: &Seconds, scale: &Scale) -> Seconds {
    let since = |((name, after), (_, before)): (&(&'static str, f64), &(&'static str, f64))| {
        (*name, (after - before) * 1e6 / scale.keys as f64)
    };
    after.iter().zip(before).map(since).collect()
}

/// The peak memory of a process in KiB. Returns None if the process has ended.
fn peak_memory(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").trim().parse().ok()
}
