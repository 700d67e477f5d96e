//! The commands, one file each.

pub mod apply;
pub mod dev;
pub mod get;
pub mod jobs;
pub mod materialize;
pub mod migrate;
pub mod run_jobs;
pub mod status;
