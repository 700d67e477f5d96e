//! The pure heart of Millrace: what an event is, what the log means, what a feature's value is. No runtime, no
//! clock, no environment, no driver: `now` is an argument, and everything here is a function of its inputs.
//!
//! The types carry the story:
//! `RawEvent ─validate→ Event ─hash→ Partition ─append→ Entry ─absorb→ Slot ─put with checkpoint→ stores
//! ─assemble(t)→ FeatureValue`. `Rejected` is the only side exit.

pub mod aggregate;
pub mod assemble;
pub mod batch;
mod bytes;
pub mod codec;
pub mod decimal;
pub mod dedupe;
pub mod definitions;
pub mod entry;
pub mod event;
pub mod expr;
pub mod extract;
pub mod fast_path;
pub mod finished;
pub mod instant;
pub mod json;
pub mod key;
pub mod partition;
pub mod percent;
pub mod position;
pub mod scalar;
pub mod schema;
pub mod slot;
pub mod sql;
pub mod status;
pub mod tile;
pub mod window;
