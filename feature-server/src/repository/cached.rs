//! Reads of MongoDB and ClickHouse, which take longer than those of Redis: values are cached (`cache`), equal reads share
//! one query (`single_flight`), and reads that come while a view is busy go together in its next query (`coalescer`).
//! `reader` puts the three together. Querying a store is left to its `ViewSource` (`query`).

mod cache;
mod coalescer;
mod query;
mod reader;
mod single_flight;

pub use cache::ResultCache;
pub use coalescer::Coalescer;
pub use query::{Edition, Freshness, ViewQuery, ViewSource};
pub use reader::{CachedReader, Lookup};
