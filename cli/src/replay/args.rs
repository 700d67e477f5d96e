//! The arguments of `millrace replay`.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ReplayError;
use super::send::SendOptions;

/// Replay files as events.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// A mapping file. Several are replayed as one, in the order of time
    #[arg(long, required = true, value_name = "FILE")]
    pub mapping: Vec<PathBuf>,
    /// The folder with the data files that the mappings name
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// The address of ingest
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Events per second [default: as fast as ingest takes them]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub rate: Option<f64>,
    /// The most events in one request
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub batch: u32,
    /// Requests in flight. Events with the same key stay in order
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: u32,
    /// Replay only the last N rows of the first mapping, by time, and the same span of the others
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Replay only the first N of the selected events
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Shift all times by the same amount, so that the latest becomes now
    #[arg(long)]
    pub shift_to_now: bool,
    /// Write the events as NDJSON instead of sending them
    #[arg(long)]
    pub dry_run: bool,
    /// The file that --dry-run writes [default: standard output]
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub out: Option<PathBuf>,
    /// Write a report as JSON: the shift, the counts, the time span
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write rejected events and the reasons as NDJSON
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// The most rejected events to print
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub show_rejects: usize,
    /// Seconds to try one batch. It stays below the 5 minutes in which a resent id is recognized
    #[arg(long, default_value_t = 240, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=280))]
    pub give_up_after: u64,
    /// Allow an ingest that is not on this machine
    #[arg(long)]
    pub yes: bool,
}

impl ReplayArgs {
    /// Refuses a target that is not on this machine, unless `--yes` allows it: events that are in a log stay there.
    pub fn check_target(&self) -> Result<(), ReplayError> {
        let options = |message: String| ReplayError::Options(message);
        let url = reqwest::Url::parse(&self.url).map_err(|error| options(format!("--url {}: {error}", self.url)))?;
        if url.scheme() != "http" {
            return Err(options(format!(
                "--url {url}: only http is supported; write for example http://127.0.0.1:8080"
            )));
        }
        let host = url.host_str().unwrap_or_default();
        let here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
        if here || self.yes {
            return Ok(());
        }
        Err(options(format!("{host} is not this machine; add --yes to replay into it")))
    }

    /// How the events are sent.
    pub fn send_options(&self) -> SendOptions {
        SendOptions {
            url: self.url.clone(),
            rate: self.rate,
            batch: self.batch as usize,
            concurrency: self.concurrency as usize,
            give_up_after: Duration::from_secs(self.give_up_after),
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected a number above 0".to_owned()),
    }
}
