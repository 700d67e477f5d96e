//! The server of `proto/millrace/v1/features.proto`, generated at build. Its answers are bytes, which `fast_path` writes.
#![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated; the documentation is in the .proto files")]

tonic::include_proto!("written/millrace.v1");
