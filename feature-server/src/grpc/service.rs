//! The server of `proto/millrace/v1/features.proto`, generated at build: its answers are written by hand, as bytes.
#![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated; the documentation is in the .proto files")]

tonic::include_proto!("written/millrace.v1");
