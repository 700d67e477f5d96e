//! The `millrace` command: what people and schedulers start. Each subcommand is a module.

pub mod commands;
pub mod replay;
