//! `millrace replay`: mappings turn the rows of files into events, which are sent to ingest, each key's events in order.
//! Ingest decides which events are valid; the mapping decides how a row becomes an event.

mod args;
mod batch;
mod error;
mod join;
mod mapping;
mod plan;
mod progress;
mod reader;
mod rejects;
mod report;
mod row;
mod send;
mod tally;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use millrace_common::clock;

pub use args::ReplayArgs;
pub use error::ReplayError;
pub use report::{MappingReport, ReplayReport};

use mapping::Mapping;
use plan::{Plan, Selection};
use progress::ProgressDisplay;
use rejects::RejectLog;
use tally::Tally;

/// Reads, selects and sends events. Fails when an event was rejected or could not be sent.
pub async fn run(args: ReplayArgs) -> anyhow::Result<()> {
    if !args.dry_run {
        args.check_target()?;
    }
    let report = replay(&args).await?;
    if report.rejected > 0 {
        return Err(ReplayError::Rejected { rejected: report.rejected, sent: report.sent }.into());
    }
    Ok(())
}

async fn replay(args: &ReplayArgs) -> Result<ReplayReport, ReplayError> {
    let plan = read_plan(args.clone()).await?;
    let planned = ReplayReport::of(&plan);
    if args.dry_run {
        write_events(&plan, args.out.as_deref())?;
        return finish(planned, args);
    }
    let started = tokio::time::Instant::now();
    let (tally, progress) = (Arc::new(Tally::default()), ProgressDisplay::new(plan.events.len() as u64));
    let printer = progress.clone();
    let rejects =
        Arc::new(RejectLog::new(args.show_rejects, args.rejects.as_deref(), move |line| printer.print(line))?);
    let options = args.send_options();
    let sent = tokio::select! {
        sent = send::send(plan.events, &options, Arc::clone(&tally), Arc::clone(&rejects)) => sent,
        () = progress.follow(Arc::clone(&tally)) => Ok(()),
    };
    progress.finish();
    rejects.finish()?;
    // Also after a failure, because the events sent so far are in the log.
    let report = planned.with_outcome(&tally, &plan.mappings, started.elapsed().as_secs_f64());
    let report = finish(report, args)?;
    sent.map(|()| report)
}

async fn read_plan(args: ReplayArgs) -> Result<Plan, ReplayError> {
    let read = move || {
        let mappings =
            args.mapping.iter().map(|path| Mapping::load(path, &args.from)).collect::<Result<Vec<_>, _>>()?;
        eprintln!("replay: reading {}", mappings.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", "));
        let shift_to = args.shift_to_now.then(clock::now_ms);
        Plan::read(&mappings, Selection { last: args.last, limit: args.limit, shift_to })
    };
    let joined = tokio::task::spawn_blocking(read).await;
    joined.unwrap_or_else(|error| Err(ReplayError::Options(format!("reading stopped: {error}"))))
}

fn write_events(plan: &Plan, out: Option<&Path>) -> Result<(), ReplayError> {
    let path = out.unwrap_or(Path::new("standard output"));
    let sink: Box<dyn Write> = match out {
        Some(path) => Box::new(std::fs::File::create(path).map_err(ReplayError::file(path))?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut sink = std::io::BufWriter::new(sink);
    let mut line = String::new();
    for event in &plan.events {
        line.clear();
        event.write_json(&mut line);
        line.push('\n');
        sink.write_all(line.as_bytes()).map_err(ReplayError::file(path))?;
    }
    sink.flush().map_err(ReplayError::file(path))
}

fn finish(report: ReplayReport, args: &ReplayArgs) -> Result<ReplayReport, ReplayError> {
    for (name, mapping) in &report.mappings {
        eprintln!("replay: {name}: {} events of {} rows", mapping.events, mapping.rows);
    }
    let ReplayReport { sent, accepted, rejected, duplicates_sent, seconds, shift_ms, .. } = report;
    if !args.dry_run {
        eprintln!(
            "replay: {accepted} accepted, {rejected} rejected of {sent} in {seconds:.1} s; {duplicates_sent} sent again"
        );
    }
    eprintln!("replay: times shifted by {shift_ms} ms");
    if let Some(path) = &args.report {
        report.write(path)?;
    }
    Ok(report)
}
