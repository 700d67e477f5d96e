//! The state that all requests share: the open log, the definitions in force, limits and counters. A background task
//! keeps the log and the definitions current.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use millrace_common::definitions::DefinitionsFollower;
use millrace_common::log::{Appender, Log, LogError};
use millrace_common::names::Names;
use millrace_common::process::Readiness;
use millrace_core::definitions::Definitions;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::RequestError;

/// How often ingest looks for new definitions, and for a log that is unavailable.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Connections to the log. Requests share their pipelines.
const CONNECTIONS: usize = 4;

/// The service behind the routes.
pub struct IngestService {
    /// One permit per request in flight.
    pub permits: Semaphore,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// Counters of events and requests.
    pub counters: IngestCounters,
    open_log: RwLock<Option<OpenLog>>,
    readiness: Readiness,
}

/// Counters, looked up once rather than per request.
pub struct IngestCounters {
    /// Events in the log.
    pub accepted: Counter,
    /// Events that were rejected as not valid.
    pub rejected: Counter,
    /// Requests whose events the log did not take, or not all.
    pub refused: Counter,
}

impl IngestCounters {
    fn new() -> Self {
        Self {
            accepted: metrics::counter!("millrace_events_accepted_total"),
            rejected: metrics::counter!("millrace_events_rejected_total"),
            refused: metrics::counter!("millrace_requests_refused_total"),
        }
    }
}

/// The log once it is open, with the definitions to check events against.
#[derive(Clone)]
pub struct OpenLog {
    /// Appends entries.
    pub appender: Appender,
    /// How many partitions the log has.
    pub partitions: u16,
    /// The definitions in force in all of them.
    pub definitions: Arc<Definitions>,
}

impl IngestService {
    /// A service whose log is not open yet.
    pub fn new(config: &Config, readiness: Readiness) -> Self {
        Self {
            permits: Semaphore::new(config.max_requests),
            max_body: config.max_body,
            body_timeout: config.body_timeout,
            counters: IngestCounters::new(),
            open_log: RwLock::new(None),
            readiness,
        }
    }

    /// The open log, or why no event can be taken now.
    pub fn open_log(&self) -> Result<OpenLog, RequestError> {
        let unavailable = |reason| RequestError::Unavailable { reason, accepted: Vec::new() };
        let log = self.open_log.read().clone();
        let log = log.ok_or_else(|| unavailable(format!("waiting for {}", self.readiness.waiting_for())))?;
        if log.appender.is_refusing() {
            return Err(unavailable("the log is under memory pressure".to_owned()));
        }
        Ok(log)
    }
}

/// Opens the log, however long it is unavailable, then follows the definitions until `shutdown`.
pub async fn keep_current(service: Arc<IngestService>, url: String, names: Names, shutdown: CancellationToken) {
    let mut opened: Option<(Appender, DefinitionsFollower)> = None;
    let mut version = None;
    let mut every = tokio::time::interval(LOOK_EVERY);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        let looked = match &mut opened {
            None => open(&url, &names).await.map(|found| opened = Some(found)).map_err(|error| error.to_string()),
            Some((appender, follower)) => follow(&service, appender, follower, &mut version).await,
        };
        match looked {
            Ok(()) if service.open_log.read().is_some() => service.readiness.set_ready(),
            Ok(()) => service.readiness.set_waiting("definitions; run `millrace apply`"),
            Err(reason) => service.readiness.set_waiting(&format!("the log: {reason}")),
        }
    }
}

async fn open(url: &str, names: &Names) -> Result<(Appender, DefinitionsFollower), LogError> {
    let log = Log::open(url, names.clone()).await?;
    let appender = Appender::open(&log, CONNECTIONS).await?;
    Ok((appender, DefinitionsFollower::new(log)))
}

async fn follow(
    service: &IngestService,
    appender: &Appender,
    follower: &DefinitionsFollower,
    version: &mut Option<u32>,
) -> Result<(), String> {
    let Some(current) = follower.current().await.map_err(|error| error.to_string())? else { return Ok(()) };
    if *version == Some(current.version) {
        return Ok(());
    }
    let partitions = follower.log().meta().partitions;
    let open = OpenLog { appender: appender.clone(), partitions, definitions: current.definitions };
    *service.open_log.write() = Some(open);
    *version = Some(current.version);
    tracing::info!(version = current.version, "definitions in force");
    Ok(())
}
