//! What the routes need, and keeping it current: the log once it answers, the definitions that every partition has.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use millrace_common::log::{Appender, Log, LogError, registry};
use millrace_common::names::Names;
use millrace_common::process::Readiness;
use millrace_common::worker::DefinitionsCache;
use millrace_core::definitions::Definitions;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::RequestError;

/// How often new definitions, and a log that is away, are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Connections to the log; requests take turns and share their pipelines.
const CONNECTIONS: usize = 4;

/// Shared by all requests.
pub struct Shared {
    /// Requests in hand.
    pub permits: Semaphore,
    /// The largest body.
    pub max_body: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// What is counted.
    pub counters: Counters,
    ready: RwLock<Option<Ready>>,
    readiness: Readiness,
}

/// Counters, looked up once rather than per request.
pub struct Counters {
    /// Events in the log.
    pub accepted: Counter,
    /// Events that are not valid.
    pub rejected: Counter,
    /// Requests that the log did not take whole.
    pub refused: Counter,
}

impl Counters {
    fn new() -> Self {
        Self {
            accepted: metrics::counter!("millrace_events_accepted_total"),
            rejected: metrics::counter!("millrace_events_rejected_total"),
            refused: metrics::counter!("millrace_requests_refused_total"),
        }
    }
}

/// Everything that taking an event needs.
#[derive(Clone)]
pub struct Ready {
    /// Appends.
    pub appender: Appender,
    /// How many partitions the log has.
    pub partitions: u16,
    /// What is in force in all of them.
    pub definitions: Arc<Definitions>,
}

impl Shared {
    /// Nothing is ready yet.
    pub fn new(config: &Config, readiness: Readiness) -> Self {
        Self {
            permits: Semaphore::new(config.max_requests),
            max_body: config.max_body,
            body_timeout: config.body_timeout,
            counters: Counters::new(),
            ready: RwLock::new(None),
            readiness,
        }
    }

    /// What is needed to take an event, or why none can be taken now.
    pub fn ready(&self) -> Result<Ready, RequestError> {
        let unavailable = |reason| RequestError::Unavailable { reason, accepted: Vec::new() };
        let ready = self.ready.read().clone();
        let ready = ready.ok_or_else(|| unavailable(format!("waiting for {}", self.readiness.waiting_for())))?;
        if ready.appender.is_refusing() {
            return Err(unavailable("the log is under memory pressure".to_owned()));
        }
        Ok(ready)
    }
}

/// Opens the log, however long it is away, then follows the definitions until `shutdown`.
pub async fn keep_current(shared: Arc<Shared>, url: String, names: Names, shutdown: CancellationToken) {
    let mut opened: Option<(Log, Appender, DefinitionsCache, u32)> = None;
    let mut every = tokio::time::interval(LOOK_EVERY);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        let looked = match &mut opened {
            None => open(&url, &names).await.map(|found| opened = Some(found)).map_err(|error| error.to_string()),
            Some((log, appender, cache, version)) => follow(&shared, log, appender, cache, version).await,
        };
        match looked {
            Ok(()) if shared.ready.read().is_some() => shared.readiness.set_ready(),
            Ok(()) => shared.readiness.set_waiting("definitions; run `millrace apply`"),
            Err(reason) => shared.readiness.set_waiting(&format!("the log: {reason}")),
        }
    }
}

async fn open(url: &str, names: &Names) -> Result<(Log, Appender, DefinitionsCache, u32), LogError> {
    let log = Log::open(url, names.clone()).await?;
    let appender = Appender::open(&log, CONNECTIONS).await?;
    let cache = DefinitionsCache::new(log.clone());
    Ok((log, appender, cache, 0))
}

async fn follow(
    shared: &Shared,
    log: &Log,
    appender: &Appender,
    cache: &DefinitionsCache,
    version: &mut u32,
) -> Result<(), String> {
    let everywhere = registry::everywhere(log).await.map_err(|error| error.to_string())?;
    let Some(newest) = everywhere.filter(|newest| newest != version) else { return Ok(()) };
    let definitions = cache.get(newest).await.map_err(|error| error.to_string())?;
    let ready = Ready { appender: appender.clone(), partitions: log.meta().partitions, definitions };
    *shared.ready.write() = Some(ready);
    *version = newest;
    tracing::info!(version = newest, "definitions in force");
    Ok(())
}
