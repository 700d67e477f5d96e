//! Compiles the protocol in `proto/`. In Rust all the way: a new machine has no `protoc`.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 2] = ["feature_store/v1/feature_store.proto", "millrace/v1/features.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    let descriptors = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(descriptors, prost::Message::encode_to_vec(&files))?;
    // Connecting is the transport's, which only clients have.
    tonic_prost_build::configure().build_transport(false).compile_fds(files)?;
    Ok(())
}
