//! Compiles the protocol in `proto/`. Everything is Rust, because a new machine has no `protoc`.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use heck::ToSnakeCase;
use prost_types::{DescriptorProto, FileDescriptorSet};

const FEATURE_STORE: &str = "feature_store/v1/feature_store.proto";
const FEATURES: &str = "millrace/v1/features.proto";
/// Answers of [`FEATURES`] that the server writes as bytes (`src/fast_path`).
const WRITTEN: [&str; 3] = ["GetFeaturesResponse", "BatchGetFeaturesResponse", "StreamFeaturesResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile([FEATURE_STORE, FEATURES], ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&files))?;
    // Only clients connect, and they bring their own transport.
    let configure = || tonic_prost_build::configure().build_transport(false);
    let features = protox::compile([FEATURES], ["proto"])?;
    std::fs::write(out.join("fields.rs"), field_numbers(&features)?)?;
    configure().compile_fds(protox::compile([FEATURE_STORE], ["proto"])?)?;
    configure().build_server(false).compile_fds(features.clone())?;
    written(configure(), features, &out.join("written"))
}

/// The server of [`FEATURES`], with the messages that are generated already and with the written answers as bytes.
fn written(
    mut builder: tonic_prost_build::Builder,
    features: FileDescriptorSet,
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    builder = builder.extern_path(".millrace.v1", "crate::proto::millrace_v1");
    for answer in WRITTEN {
        builder = builder.extern_path(format!(".millrace.v1.{answer}"), "crate::grpc::WrittenMessage");
    }
    let codec = "crate::grpc::WrittenCodec";
    Ok(builder.build_client(false).codec_path(codec).out_dir(out).compile_fds(features)?)
}

/// The numbers of all fields of all messages: a module for each message, with a constant for each field.
fn field_numbers(files: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    for message in files.file.iter().flat_map(|file| &file.message_type) {
        numbers_of(message, &mut code)?;
    }
    Ok(code)
}

fn numbers_of(message: &DescriptorProto, code: &mut String) -> std::fmt::Result {
    writeln!(code, "pub mod {} {{", message.name().to_snake_case())?;
    for field in &message.field {
        writeln!(code, "    pub const {}: u32 = {};", field.name().to_uppercase(), field.number())?;
    }
    writeln!(code, "}}")?;
    message.nested_type.iter().try_for_each(|nested| numbers_of(nested, code))
}
