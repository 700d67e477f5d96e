//! One test binary for the HTTP API of ingest.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod body;

use std::sync::LazyLock;

use metrics_exporter_prometheus::PrometheusHandle;

/// The metrics of the test process. A process can install them only once.
static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| millrace_common::telemetry::metrics().unwrap());
