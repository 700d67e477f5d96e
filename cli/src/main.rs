//! The `millrace` command.

use millrace::arguments::Arguments;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Arguments::read().run().await
}
