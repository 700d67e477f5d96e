//! The three stores of Millrace on a machine without containers: fetched once, run natively, on loopback.
//!
//! Redis is `redis-server`; MongoDB is `mongod` where it is installed and SecantusDB otherwise; ClickHouse is the real
//! engine as a library behind `chdb-http`. A URL given for a store replaces it. The stores' drivers are not used here:
//! what the stores hold is left to `millrace-common`.

pub mod error;
mod launch;
pub mod options;
mod ports;
mod probe;
pub mod process;
pub mod services;
mod spawner;
mod stack;
mod state;
pub mod store;
pub mod tools;
mod wait;

pub use error::DevstackError;
pub use options::StackOptions;
pub use stack::{Stack, attach_or_up, down, shared_for_tests, test_dir};
pub use store::{Kind, Store};
