//! The field numbers of the messages in `proto/millrace/v1/features.proto`, generated at build: a module for each message,
//! with a constant for each field.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    reason = "generated for all messages, of which only answers are written"
)]

include!(concat!(env!("OUT_DIR"), "/fields.rs"));
