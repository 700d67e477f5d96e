//! Compiles the protocol in `proto/`. In Rust all the way: a new machine has no `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};

const FEATURE_STORE: &str = "feature_store/v1/feature_store.proto";
const FEATURES: &str = "millrace/v1/features.proto";
/// Answers of this service, which it writes as bytes.
const WRITTEN: [&str; 3] = ["GetFeaturesResponse", "BatchGetFeaturesResponse", "StreamFeaturesResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile([FEATURE_STORE, FEATURES], ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&files))?;
    // Connecting is the transport's, which only clients have.
    let configure = || tonic_prost_build::configure().build_transport(false);
    configure().compile_fds(protox::compile([FEATURE_STORE], ["proto"])?)?;
    configure().build_server(false).compile_fds(protox::compile([FEATURES], ["proto"])?)?;
    written(configure(), &out.join("written"))
}

/// The server of [`FEATURES`], over the messages that are there already, but for the answers.
fn written(mut builder: tonic_prost_build::Builder, out: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    builder = builder.extern_path(".millrace.v1", "crate::proto::millrace_v1");
    for answer in WRITTEN {
        builder = builder.extern_path(format!(".millrace.v1.{answer}"), "crate::grpc::Written");
    }
    let codec = "crate::grpc::WrittenCodec";
    let files = protox::compile([FEATURES], ["proto"])?;
    Ok(builder.build_client(false).codec_path(codec).out_dir(out).compile_fds(files)?)
}
