//! One store of a stack: where it is, and for a native one how to start, kill, stop and pause it.

use std::path::Path;
use std::sync::Arc;

use rustix::process::Signal;

use crate::error::DevstackError;
use crate::kind::StoreKind;
use crate::native::NativeStore;

/// A store of a stack. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    kind: StoreKind,
    url: String,
    /// None if the store was given by its URL.
    native: Option<Arc<NativeStore>>,
}

impl Store {
    /// A store that was given by its URL.
    pub(crate) fn given(kind: StoreKind, url: String) -> Self {
        Self { kind, url, native: None }
    }

    /// A store that devstack runs.
    pub(crate) fn native(kind: StoreKind, native: NativeStore) -> Self {
        Self { kind, url: native.url(), native: Some(Arc::new(native)) }
    }

    /// Which store.
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name and version of the server, for people; the URL if it was given.
    pub fn server(&self) -> &str {
        self.native.as_deref().map_or(&self.url, NativeStore::server)
    }

    /// Whether devstack started it.
    pub fn is_native(&self) -> bool {
        self.native.is_some()
    }

    /// The server's log.
    pub fn log(&self) -> Option<&Path> {
        self.native.as_deref().map(NativeStore::log)
    }

    /// The running process.
    pub fn pid(&self) -> Result<u32, DevstackError> {
        Ok(self.required()?.identity().pid)
    }

    /// Whether the process runs; a paused one does. False for a store given by URL.
    pub fn is_alive(&self) -> bool {
        self.native.as_deref().is_some_and(NativeStore::is_alive)
    }

    /// Whether it answers a query now. False for a store given by URL.
    pub fn answers(&self) -> bool {
        self.native.as_deref().is_some_and(NativeStore::answers)
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&self) -> Result<(), DevstackError> {
        self.required()?.kill()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<(), DevstackError> {
        self.required()?.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), DevstackError> {
        self.required()?.signal(Signal::CONT)
    }

    /// SIGTERM, and SIGKILL if it takes longer than ten seconds.
    pub async fn stop(&self) -> Result<(), DevstackError> {
        let native = self.required()?.clone();
        tokio::task::spawn_blocking(move || native.stop()).await?
    }

    /// Starts it again on its port and data, and waits until it answers; does nothing if it runs.
    pub async fn start(&self) -> Result<(), DevstackError> {
        let native = self.required()?.clone();
        tokio::task::spawn_blocking(move || native.restart()).await?
    }

    /// The process behind it, if devstack started it.
    pub(crate) fn as_native(&self) -> Option<&NativeStore> {
        self.native.as_deref()
    }

    fn required(&self) -> Result<&Arc<NativeStore>, DevstackError> {
        self.native.as_ref().ok_or(DevstackError::GivenByUrl(self.kind.name()))
    }
}
