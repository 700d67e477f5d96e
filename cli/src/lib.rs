//! The `millrace` command, which people and schedulers start. Each subcommand is a module.

pub mod arguments;
pub mod commands;
pub mod replay;
pub mod running_dev;
