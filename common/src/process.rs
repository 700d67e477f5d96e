//! The parts that all processes share besides their work: stopping within a bounded time, readiness, and the admin routes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::BackOff;

/// A token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once.
pub fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !first {
                tracing::warn!("second stop signal");
                std::process::exit(130);
            }
            tracing::info!("stopping");
            stop.cancel();
        }
    });
    Ok(shutdown)
}

/// Waits for the work in flight after a stop, for at most `grace`.
pub async fn drain(grace: Duration, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    match tokio::time::timeout(grace, work).await {
        Ok(result) => result,
        Err(_) => {
            anyhow::bail!(
                "the work in flight did not finish within {} s; nothing that was acknowledged is lost",
                grace.as_secs()
            )
        }
    }
}

/// Whether this process can do its work now, and if not, for what it waits.
#[derive(Clone, Default)]
pub struct Readiness(Arc<ReadinessState>);

#[derive(Default)]
struct ReadinessState {
    ready: watch::Sender<bool>,
    waiting_for: Mutex<String>,
    note: Mutex<String>,
}

impl Readiness {
    /// Not ready, waiting for `what`.
    pub fn waiting(what: &str) -> Self {
        let readiness = Self::default();
        readiness.set_waiting(what);
        readiness
    }

    /// Sets it to ready.
    pub fn set_ready(&self) {
        if self.0.ready.send_if_modified(|ready| !std::mem::replace(ready, true)) {
            tracing::info!("ready");
        }
    }

    /// Sets it to not ready, waiting for `what`.
    pub fn set_waiting(&self, what: &str) {
        *self.0.waiting_for.lock() = what.to_owned();
        if self.0.ready.send_if_modified(|ready| std::mem::replace(ready, false)) {
            tracing::warn!(waiting_for = what, "not ready");
        }
    }

    /// Sets a note for operators, ready or not. An empty text removes the note. A warning is traced when
    /// a note appears and when it goes.
    pub fn set_note(&self, note: &str) {
        let mut held = self.0.note.lock();
        if *held == note {
            return;
        }
        if held.is_empty() != note.is_empty() {
            tracing::warn!(note, "readiness note");
        }
        note.clone_into(&mut held);
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Whether it is ready, as a value to watch.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// The thing that it waits for.
    pub fn waiting_for(&self) -> String {
        self.0.waiting_for.lock().clone()
    }
}

#[derive(Clone)]
struct Admin {
    metrics: PrometheusHandle,
    readiness: Readiness,
}

/// `/healthz` (and `/health`): the process runs. `/readyz`: it can work. `/metrics`: its metrics as Prometheus text.
pub fn admin_routes(metrics: PrometheusHandle, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/health", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|State(admin): State<Admin>| async move { admin.metrics.render() }))
        .with_state(Admin { metrics, readiness })
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let note = admin.readiness.0.note.lock().clone();
    let note = if note.is_empty() { note } else { note + "\n" };
    if admin.readiness.is_ready() {
        return (StatusCode::OK, format!("ready\n{note}"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n{note}", admin.readiness.waiting_for()))
}

/// Serves `routes` until `shutdown`, then finishes the requests in flight.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// Runs the metrics upkeep, without which histograms grow until they are scraped.
pub async fn metrics_upkeep(metrics: PrometheusHandle, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Repeats `open` until it succeeds, or until `shutdown`. A service that starts while a store is unavailable waits for it and
/// reports that; it does not exit.
pub async fn wait_for<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    readiness: &Readiness,
    shutdown: &CancellationToken,
    mut open: impl FnMut() -> F,
) -> Option<T> {
    let mut back_off = BackOff::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        match shutdown.run_until_cancelled(open()).await? {
            Ok(opened) => return Some(opened),
            Err(error) => {
                let waiting = format!("{what}: {error}");
                if readiness.waiting_for() != waiting {
                    tracing::warn!(waiting_for = waiting, "waiting for a store");
                }
                readiness.set_waiting(&waiting);
            }
        }
        shutdown.run_until_cancelled(tokio::time::sleep(back_off.next_delay())).await?;
    }
}
