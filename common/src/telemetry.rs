//! Starts the logging and the metrics of a process.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::ProcessConfig;

/// Bounds of latency buckets in seconds: from half a millisecond to ten seconds.
const LATENCY_BUCKETS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Starts logging to standard error and returns the metrics of this process. Called once, first in `main`.
pub fn init(config: &ProcessConfig) -> anyhow::Result<PrometheusHandle> {
    let filter = EnvFilter::try_new(&config.log)?;
    let colour = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    let started = match config.log_format.as_str() {
        "json" => subscriber.json().try_init(),
        _ => subscriber.try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("failed to start logging: {error}"))?;
    metrics()
}

/// Starts the metrics alone, for tests that run services in their own process.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &LATENCY_BUCKETS)?
        .install_recorder()?)
}
