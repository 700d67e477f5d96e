//! The three stores of Millrace on a machine without containers: fetched once, run natively, on loopback.
//!
//! Redis is `redis-server`; MongoDB is `mongod` where it is installed and SecantusDB otherwise; ClickHouse is the real
//! engine as a library behind `chdb-http`. If a store is given by its URL, that one is used instead. This crate does not use
//! the stores' drivers. The stores' contents are left to `millrace-common`.

pub mod error;
pub mod kind;
mod launch;
mod native;
pub mod options;
mod ports;
mod probe;
pub mod process;
mod record;
pub mod services;
mod spawner;
mod stack;
pub mod store;
pub mod tools;
mod wait;

pub use error::DevstackError;
pub use kind::StoreKind;
pub use options::StackOptions;
pub use stack::{Stack, attach_or_up, down, shared_for_tests, test_dir};
pub use store::Store;
