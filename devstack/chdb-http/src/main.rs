//! The `chdb-http` process: options, engine, listener, serve, bounded drain.

use std::process::ExitCode;

use chdb_http::{Options, ServeError};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The engine's queries run on our threads and want a server's stack.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(serve(&options)),
        Err(error) => Err(error.into()),
    };
    // Not by returning: what still runs after the drain must not hold up the end, nor meet static destructors.
    match result {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("chdb-http: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(&options.listen).await?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    chdb_http::run(options, listener, shutdown).await
}
