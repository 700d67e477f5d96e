//! The stores that hold what is computed: one file each.

pub mod clickhouse;
pub mod features;
mod pieces;
pub mod profiles;
