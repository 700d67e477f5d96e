//! Starts a stack in a folder and holds it until it is killed. A test uses it as its other process, and people to try the
//! stores by hand (`cargo run -p millrace-devstack --example hold -- FOLDER`). Writes their pids to `FOLDER/pids`.

use std::path::PathBuf;

use millrace_devstack::{DevstackError, Stack, StackOptions, StoreKind};

#[tokio::main]
async fn main() -> Result<(), DevstackError> {
    let dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".millrace/hold".into()));
    let stack = Stack::up(StackOptions::new(dir.join("data"))).await?;
    let mut pids = Vec::new();
    for kind in StoreKind::ALL {
        pids.push(stack.store(kind).pid()?.to_string());
        println!("{}", stack.store(kind).url());
    }
    let file = |source| DevstackError::File { path: dir.clone(), source };
    std::fs::write(dir.join("new"), pids.join(" ")).map_err(file)?;
    std::fs::rename(dir.join("new"), dir.join("pids")).map_err(file)?;
    std::future::pending().await
}
