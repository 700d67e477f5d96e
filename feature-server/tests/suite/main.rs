//! One test binary: every API of the feature server on real stores.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cache;
mod entities;
mod graphql;
mod graphql_clients;
mod grpc;
mod grpc_flow;
mod http;
mod round_trips;
mod shutdown;
mod support;
