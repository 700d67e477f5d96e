//! A handle to a log: what it is called, what it was created with, and the connection that short calls share.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;

use super::error::{self, LogError};
use super::link::Link;
use super::memory::{self, Pressure};
use super::meta::LogMeta;
use super::{client, create};
use crate::names::Names;

/// A log that exists. A clone is cheap and shares the connection for short calls.
#[derive(Clone)]
pub struct Log(Arc<LogParts>);

struct LogParts {
    link: Link,
    names: Names,
    meta: LogMeta,
}

impl Log {
    /// Makes the log: the function library, the streams, the groups at 0, and last its properties. Making it again
    /// changes nothing; a call with other properties than the log has is refused.
    pub async fn create(url: &str, names: Names, meta: LogMeta) -> Result<Self, LogError> {
        let link = Self::link(url, &names)?;
        create::create(&link, &names, &meta).await?;
        Ok(Self(Arc::new(LogParts { link, names, meta })))
    }

    /// Opens a log that `migrate` has made, and checks that this binary and this Redis can keep its promises.
    pub async fn open(url: &str, names: Names) -> Result<Self, LogError> {
        let link = Self::link(url, &names)?;
        let meta = create::open(&link, &names).await?;
        Ok(Self(Arc::new(LogParts { link, names, meta })))
    }

    /// The names of its keys.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The properties that it was created with.
    pub fn meta(&self) -> &LogMeta {
        &self.0.meta
    }

    /// Its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = millrace_core::partition::Partition> + use<> {
        (0..self.meta().partitions).map(millrace_core::partition::Partition)
    }

    /// A new connection of the caller's own, fenced. A reply may take 3 s; a blocking call sets more.
    pub async fn connect(&self) -> Result<MultiplexedConnection, LogError> {
        self.0.link.connect().await
    }

    /// The memory of its Redis now.
    pub async fn pressure(&self) -> Result<Pressure, LogError> {
        memory::read(self.link_ref()).await
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), LogError> {
        self.link_ref().query("ping the log", &redis::cmd("PING")).await.map(drop)
    }

    fn link(url: &str, names: &Names) -> Result<Link, LogError> {
        let client = client::open(url).map_err(error::failed("understand the log's URL"))?;
        Ok(Link::new(client, names.log()))
    }

    pub(super) fn link_ref(&self) -> &Link {
        &self.0.link
    }
}
