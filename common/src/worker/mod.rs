//! The worker loop of both consumers: read → judge → commit → advance, one task per partition and sink, without a channel
//! in between. Back-pressure is not reading.
//!
//! - `group` decides which partitions this process owns, `owned` is one of them, `lag` tells how far all are behind;
//! - `run` is the loop, `turn` one round of it, `policy` what follows each;
//! - `batch_reader` makes batches, `judge` decides each entry's fate before a sink sees it, `linger` says how long to wait;
//! - `share` lets one sink read for two, `kept` holds the batches in between;
//! - `sink` is the part that a consumer adds.

mod batch_reader;
mod group;
mod judge;
mod kept;
mod lag;
mod linger;
mod owned;
mod policy;
mod run;
mod share;
mod sink;
mod turn;

pub use crate::definitions::DefinitionsCache;
pub use group::{GroupConfig, Sinks, run_group};
pub use judge::{Fate, Judge};
pub use owned::Owned;
pub use run::{run_pair, run_sink};
pub use sink::{Batch, BatchLimits, Fence, Sink, SinkError};
