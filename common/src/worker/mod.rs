//! The worker loop of both consumers: read → judge → commit → advance, one task per partition and sink, no internal
//! channel; back-pressure is not reading.
//!
//! `group` decides which partitions this process owns and keeps their leases; `run` is one sink's policy, `step` one
//! batch; `share` lets one sink read for two; `judge` says each entry's fate before any sink sees it; `lag` tells how far all are
//! behind; `sink` is what a consumer adds.

mod group;
mod judge;
mod lag;
mod owned;
mod run;
mod share;
mod sink;
mod step;

pub use crate::definitions::DefinitionsCache;
pub use group::{GroupConfig, Sinks, run_group};
pub use judge::{Fate, Judge};
pub use owned::Owned;
pub use run::{run_pair, run_sink};
pub use sink::{Batch, Fence, Sink, SinkError};
