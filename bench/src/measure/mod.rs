//! The measurements. Each adds its rows to the report. Millrace and the bare peer take turns, so that a drift of the machine
//! affects both alike.

pub mod append;
pub mod drain;
pub mod ingest;
pub mod json;
pub mod materialize;
pub mod memory;
pub mod servable;
pub mod serve;
