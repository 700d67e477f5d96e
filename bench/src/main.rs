//! `millrace-bench`: measures the real binaries on real stores, beside bare peers, in one run.

use clap::Parser;
use millrace_bench::{Arguments, run};

// The peers use the allocator that the services use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(Arguments::parse()).await
}
