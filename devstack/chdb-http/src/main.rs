//! The `chdb-http` process: options, engine, listener, serve, bounded drain.

use std::process::ExitCode;

use chdb_http::{Options, ServeError};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The engine's queries run on this process's threads and need a large stack.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(serve(&options)),
        Err(error) => Err(error.into()),
    };
    // `exit` rather than a return: a query that still runs after the drain must not delay the end, nor meet static
    // destructors.
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
    let listener = bind(&options.listen).await?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    chdb_http::run(options, listener, shutdown).await
}

async fn bind(listen: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(listen).await.map_err(|source| ServeError::Listen { listen: listen.to_owned(), source })
}
