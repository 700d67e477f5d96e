//! The stores that hold features, and the interface that the online ones share. Each store has a folder of its own.

pub mod clickhouse;
pub mod features;
pub mod online;
mod pieces;
pub mod profiles;
