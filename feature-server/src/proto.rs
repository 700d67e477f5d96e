//! The gRPC protocol that `proto/` declares: messages, servers and clients, generated at build.
#![allow(missing_docs, clippy::all, reason = "generated; the documentation is in the .proto files")]

/// `proto/feature_store/v1/feature_store.proto`.
pub mod feature_store_v1 {
    tonic::include_proto!("feature_store.v1");
}

/// `proto/millrace/v1/features.proto`.
pub mod millrace_v1 {
    tonic::include_proto!("millrace.v1");
}

/// The descriptors of all files and of their imports, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
