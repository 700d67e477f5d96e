//! The commands, one file each.

pub mod apply;
pub mod dev;
pub mod get;
pub mod migrate;
pub mod status;
