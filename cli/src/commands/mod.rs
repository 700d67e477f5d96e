//! The commands, one file each, and the helpers that several of them share.

pub mod apply;
mod definitions;
pub mod dev;
pub mod get;
pub mod jobs;
pub mod materialize;
pub mod migrate;
mod output;
pub mod run_jobs;
pub mod status;
