//! How fast each consumer works off a full log, from the start of its process to the last cursor at the end, beside
//! reading the same log with `XREAD` alone.

use std::time::Instant;

use millrace_common::log::Group;
use millrace_devstack::services::ServiceKind;

use crate::config::Scale;
use crate::cpu::Processes;
use crate::line::{Installation, Line, SinkProgress};
use crate::report::{Aim, Report, Round, Row, median, number};
use crate::xread;

/// Both groups, or the one that is asked for.
pub async fn run(line: &Line, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut rows: Vec<(Group, Row)> = scale.groups.iter().map(|group| (*group, row(*group))).collect();
    let mut sinks: Vec<(String, f64)> = Vec::new();
    for round in 0..scale.rounds {
        let installation = line.install(&format!("drain{round}")).await?;
        installation.append(scale.entries).await?;
        for (group, row) in &mut rows {
            line.settle().await?;
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
    let processes = installation.line.processes(service.pid());
    // Of a process that has just started: all the CPU time it will have is this drain's.
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
    let (log, line) = (&installation.log, installation.line);
    let streams = log.partitions().map(|partition| log.names().events(partition)).collect();
    let processes = Processes::with_load().and("redis", line.stack.redis().pid().ok());
    let before = processes.read();
    let (entries, seconds) = xread::read_all(line.redis_address()?, streams).await?;
    Ok(Round::of(entries as f64 / seconds, processes.per_million(&before, entries as f64)))
}

/// Sinks have positions of their own: the faster one shows what the slower one costs.
fn facts(sinks: &[(String, f64)], report: &mut Report) {
    let mut names: Vec<&String> = sinks.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let rates = sinks.iter().filter(|(other, _)| other == name).map(|(_, rate)| *rate).collect();
        report.fact(name, number(median(rates)));
    }
}
