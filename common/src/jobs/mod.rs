//! Batch views: each query is run as of an instant, its rows are written into the online store of the view, and the run is
//! recorded.
//!
//! `scheduler` begins what is due and `in_flight` holds its runs. `run` is one run: `job` says what is run and how it went,
//! `query` runs the query, `write` puts the rows, `patience` waits for the log, `progress` is for watching. Records of runs
//! are left to `crate::log::job`, the meaning of a row to `millrace_core::batch`.

mod error;
mod in_flight;
mod job;
mod patience;
mod progress;
mod query;
mod run;
mod scheduler;
mod stores;
mod write;

pub use error::JobError;
pub use job::{Job, RunReport};
pub use progress::RunProgress;
pub use run::run;
pub use scheduler::{SchedulerConfig, batch_views, run_scheduler, show_age};
pub use stores::JobStores;
