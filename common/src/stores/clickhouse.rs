//! The events, and the features that are computed from them, in ClickHouse: one database per namespace.
//!
//! `client` sends queries; `rows` knows the form of a row, `insert` sends rows, `read` finds the rows that arrived, `daily`
//! keeps the roll-up true; `values` computes features, `batch` streams the query of a batch view; `dead_letters` copies dead
//! letters; `schema` makes the tables. SQL text is left to `millrace_core::sql`.

mod batch;
mod client;
mod daily;
mod dead_letters;
mod error;
mod insert;
mod read;
mod rows;
mod schema;
mod url;
mod values;

pub use batch::BatchRows;
pub use client::{ClickHouse, INSERT_TIMEOUT};
pub use error::{ClickHouseError, Fault};
pub use rows::{Layout, Rows, row_bytes};
pub use schema::migrate;
