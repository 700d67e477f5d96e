//! The measurements. Each adds its rows to the report; ours and bare take turns, so that what drifts on the machine
//! drifts under both.

pub mod drain;
pub mod ingest;
pub mod materialize;
pub mod memory;
pub mod servable;
pub mod serve;
