//! `millrace replay`: files become events through mappings and are sent to ingest, each key's events in order. What an
//! event must look like is ingest's to say; what a row means is the mapping's.

mod batch;
mod error;
mod expr;
mod join;
mod mapping;
mod plan;
mod progress;
mod reader;
mod rejects;
mod report;
mod send;
mod value;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock;

pub use error::ReplayError;
pub use report::{MappingReport, Report};

use mapping::Mapping;
use plan::{Plan, Selection};
use progress::Progress;
use rejects::Rejects;
use send::{SendOptions, Tally};

/// Replay files as events.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// A mapping file; give several to replay their files as one, by time
    #[arg(long, required = true, value_name = "FILE")]
    pub mapping: Vec<PathBuf>,
    /// The folder of the data files that the mappings name
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Ingest
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Events per second; without it, as fast as ingest takes them
    #[arg(long, value_name = "N", value_parser = positive)]
    pub rate: Option<f64>,
    /// The most events in one request
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub batch: u32,
    /// Requests in flight; events with the same key stay in order
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: u32,
    /// Only the last N rows, by time, of the first mapping, and the same span of the others
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Only the first N events of what is selected
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Move all times by one shift, so that the latest becomes now
    #[arg(long)]
    pub shift_to_now: bool,
    /// Write the events as NDJSON instead of sending them
    #[arg(long)]
    pub dry_run: bool,
    /// Where --dry-run writes; standard output without it
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub out: Option<PathBuf>,
    /// Write what was done as JSON: the shift, the counts, the span
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write rejected events with their reasons as NDJSON
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// How many rejected events to print
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub show_rejects: usize,
    /// Seconds to try one batch; below the 5 minutes within which a resent id is known
    #[arg(long, default_value_t = 240, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=280))]
    pub give_up_after: u64,
    /// Replay into an ingest that is not on this machine
    #[arg(long)]
    pub yes: bool,
}

/// Reads, selects and sends; an error if anything was rejected or could not be sent.
pub async fn run(args: ReplayArgs) -> anyhow::Result<()> {
    if !args.dry_run {
        check_target(&args)?;
    }
    let report = replay(&args).await?;
    if report.rejected > 0 {
        return Err(ReplayError::Rejected { rejected: report.rejected, sent: report.sent }.into());
    }
    Ok(())
}

async fn replay(args: &ReplayArgs) -> Result<Report, ReplayError> {
    let plan = read_plan(args.clone()).await?;
    let planned = Report::of(&plan);
    if args.dry_run {
        write_events(&plan, args.out.as_deref())?;
        return finish(planned, args);
    }
    let started = tokio::time::Instant::now();
    let (tally, progress) = (Arc::new(Tally::default()), Progress::new(plan.events.len() as u64));
    let printer = progress.clone();
    let rejects = Arc::new(Rejects::new(args.show_rejects, args.rejects.as_deref(), move |line| printer.print(line))?);
    let options = options(args);
    let sent = tokio::select! {
        sent = send::send(plan.events, &options, Arc::clone(&tally), Arc::clone(&rejects)) => sent,
        () = progress.follow(Arc::clone(&tally)) => Ok(()),
    };
    progress.finish();
    rejects.finish()?;
    // Also after a failure: what was sent is in the log.
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

fn options(args: &ReplayArgs) -> SendOptions {
    SendOptions {
        url: args.url.clone(),
        rate: args.rate,
        batch: args.batch as usize,
        concurrency: args.concurrency as usize,
        give_up_after: Duration::from_secs(args.give_up_after),
    }
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

fn finish(report: Report, args: &ReplayArgs) -> Result<Report, ReplayError> {
    for (name, mapping) in &report.mappings {
        eprintln!("replay: {name}: {} events of {} rows", mapping.events, mapping.rows);
    }
    let Report { sent, accepted, rejected, duplicates_sent, seconds, shift_ms, .. } = report;
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

/// A replay is easily aimed at the wrong place, and what is in a log stays there.
fn check_target(args: &ReplayArgs) -> Result<(), ReplayError> {
    let options = |message: String| ReplayError::Options(message);
    let url = reqwest::Url::parse(&args.url).map_err(|error| options(format!("--url {}: {error}", args.url)))?;
    if url.scheme() != "http" {
        return Err(options(format!("--url {url}: only http is spoken; write for example http://127.0.0.1:8080")));
    }
    let host = url.host_str().unwrap_or_default();
    let here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    if here || args.yes {
        return Ok(());
    }
    Err(options(format!("{host} is not this machine; add --yes to replay into it all the same")))
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected a number above 0".to_owned()),
    }
}
