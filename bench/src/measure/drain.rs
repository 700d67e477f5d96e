//! How fast each consumer drains a full log, from the start of its process until the last cursor is at the end, beside reading
//! the same log with `XREAD` alone.

use std::time::Instant;

use millrace_common::log::Group;
use millrace_devstack::services::ServiceKind;

use crate::config::Scale;
use crate::cpu::Processes;
use crate::installation::Installation;
use crate::report::{Aim, Report, Round, Row, median, number};
use crate::sink_progress::SinkProgress;
use crate::stores::BenchStores;
use crate::xread;

/// Measures both groups, or the one that was asked for.
pub async fn run(stores: &BenchStores, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut rows: Vec<(Group, Row)> = scale.groups.iter().map(|group| (*group, row(*group))).collect();
    let mut sinks: Vec<(String, f64)> = Vec::new();
    for round in 0..scale.rounds {
        let installation = Installation::create(stores, &format!("drain{round}")).await?;
        installation.append(scale.entries).await?;
        for (group, row) in &mut rows {
            stores.settle().await?;
            let (drained, of_sinks) = drain(&installation, *group, scale.entries).await?;
            row.ours.push(drained);
            sinks.extend(of_sinks);
            row.bare.push(read(&installation).await?);
            row.progress();
        }
        installation.remove().await?;
    }
    rows.into_iter().for_each(|(_, row)| report.add(row));
    facts(&sinks, report);
    Ok(())
}

fn row(group: Group) -> Row {
    let (what, unit, aim) = match group {
        Group::Online => ("online drain, Redis and MongoDB", "events/s", 150_000.0),
        Group::Offline => ("offline drain, ClickHouse", "rows/s", 200_000.0),
    };
    Row::new(what, unit, "XREAD alone", Some(Aim::AtLeast(aim)))
}

fn consumer(group: Group) -> ServiceKind {
    match group {
        Group::Online => ServiceKind::OnlineConsumer,
        Group::Offline => ServiceKind::OfflineConsumer,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
async fn drain(
    installation: &Installation<'_>,
    group: Group,
    entries: usize,
) -> anyhow::Result<(Round, Vec<(String, f64)>)> {
    let begun = Instant::now();
    let mut service = installation.start(consumer(group))?;
    let processes = installation.stores.processes(service.pid());
    // The process has just started, so all its CPU time belongs to this drain.
    let before = processes.read();
    let sinks = installation.drained(group, begun).await?;
    let entries = entries as f64;
    let cpu = processes.per_million(&before, entries);
    service.stop()?;
    let slowest = sinks.iter().map(SinkProgress::seconds).fold(0.0, f64::max);
    let mut rates = Vec::new();
    for sink in &sinks {
        rates.push((format!("{group} drain, sink {}: entries/s", sink.sink), entries / sink.seconds()));
        let name = format!("{group} drain, sink {}: entries/s between a tenth and four fifths of the log", sink.sink);
        rates.extend(sink.steady().map(|rate| (name, rate)));
    }
    Ok((Round::of(entries / slowest, cpu), rates))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
async fn read(installation: &Installation<'_>) -> anyhow::Result<Round> {
    let (log, stores) = (&installation.log, installation.stores);
    let streams = log.partitions().map(|partition| log.names().events(partition)).collect();
    let processes = Processes::with_load().and("redis", stores.stack.redis().pid().ok());
    let before = processes.read();
    let (entries, seconds) = xread::read_all(stores.redis_address()?, streams).await?;
    Ok(Round::of(entries as f64 / seconds, processes.per_million(&before, entries as f64)))
}

/// One fact per sink: each has its own positions, and the faster sink shows how much the slower one costs.
fn facts(sinks: &[(String, f64)], report: &mut Report) {
    let mut names: Vec<&String> = sinks.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let rates = sinks.iter().filter(|(other, _)| other == name).map(|(_, rate)| *rate).collect();
        report.fact(name, number(median(rates)));
    }
}
