//! A namespace's profiles: connecting, loading states and reading finished values. Each call has a timeout.

use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::TryStreamExt;
use millrace_core::definitions::View;
use millrace_core::finished::{Finished, Found};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{ClientOptions, CollectionOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection, Database};
use tokio::sync::OnceCell;

use super::document;
use super::error::ProfileError;

/// Connections that may be opened at the same time; the driver's 2 makes a burst wait.
const MAX_CONNECTING: u32 = 8;

/// The documents per command at first: it bounds what one timeout covers.
pub(super) const MOST_PER_COMMAND: usize = 1_000;

/// The documents of one namespace.
#[derive(Clone)]
pub struct ProfileStore {
    pub(super) client: Client,
    pub(super) database: Database,
    pub(super) timeout: Duration,
    /// Whether the server supports `bulkWrite`; asked once.
    pub(super) bulk: Arc<OnceCell<bool>>,
    /// The number of documents per command that the server writes in time.
    pub(super) puts_per_command: Arc<AtomicUsize>,
}

impl ProfileStore {
    /// Reads the URL. The driver connects at the first call, so MongoDB may be unavailable now. `concurrency` is the
    /// number of calls that run at once; each has `timeout` to answer.
    pub async fn connect(
        url: &str,
        namespace: &str,
        concurrency: u32,
        timeout: Duration,
    ) -> Result<Self, ProfileError> {
        let mut options = ClientOptions::parse(url).await.map_err(|error| ProfileError::Url(error.to_string()))?;
        options.app_name.get_or_insert_with(|| "millrace".to_owned());
        options.max_pool_size = Some(concurrency.max(1));
        options.max_connecting = Some(MAX_CONNECTING);
        options.connect_timeout = Some(Duration::from_secs(2));
        options.server_selection_timeout = Some(timeout);
        options.write_concern = Some(WriteConcern::majority());
        let client = Client::with_options(options).map_err(|error| ProfileError::Url(error.to_string()))?;
        let database = client.database(namespace);
        let puts_per_command = Arc::new(AtomicUsize::new(MOST_PER_COMMAND));
        Ok(Self { client, database, timeout, bulk: Arc::default(), puts_per_command })
    }

    /// Writes with the `update` command, as to a server before 8.0.
    pub fn with_update_command(mut self) -> Self {
        self.bulk = Arc::new(OnceCell::new_with(Some(false)));
        self
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), ProfileError> {
        self.within(self.database.run_command(doc! { "ping": 1 })).await.map(|_| ())
    }

    /// The version of the server, for people.
    pub async fn server(&self) -> Result<String, ProfileError> {
        let info = self.within(self.database.run_command(doc! { "buildInfo": 1 })).await?;
        Ok(info.get_str("version").map_or_else(|_| "unknown".to_owned(), str::to_owned))
    }

    /// The stored states of these keys, with read concern `majority`: a state that could be rolled back must not be
    /// built upon. A document without a state returns an empty one, which no codec reads, so only its own key fails.
    pub async fn load(&self, view: &View, keys: &[&str]) -> Result<HashMap<String, Vec<u8>>, ProfileError> {
        let found = self.find(&self.committed(view), keys, doc! { document::STATE: 1 }).await?;
        found.iter().map(|raw| Ok((document::key(raw)?, document::state(raw)))).collect()
    }

    /// The finished values of `features` (indices into the view's) for each key, in the order asked. A document that
    /// is not a profile that Millrace wrote is `Unreadable`, and does not affect other keys.
    pub async fn read(
        &self,
        view: &View,
        features: &[usize],
        keys: &[&str],
    ) -> Result<Vec<Found<Finished>>, ProfileError> {
        let collection = self.database.collection(&document::collection(view));
        let found = self.find(&collection, keys, document::projection(view, features)).await?;
        let mut by_key = HashMap::with_capacity(found.len());
        for raw in &found {
            by_key.insert(document::key(raw)?, readable(document::profile(view, features, raw)));
        }
        // A key that was asked for twice is answered twice.
        Ok(keys.iter().map(|key| by_key.get(*key).cloned().unwrap_or(Found::Unknown)).collect())
    }

    pub(super) fn committed(&self, view: &View) -> Collection<RawDocumentBuf> {
        let options = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        self.database.collection_with_options(&document::collection(view), options)
    }

    pub(super) async fn find(
        &self,
        collection: &Collection<RawDocumentBuf>,
        keys: &[&str],
        projection: Document,
    ) -> Result<Vec<RawDocumentBuf>, ProfileError> {
        let all = async {
            let filter = match keys {
                [key] => doc! { "_id": *key },
                keys => doc! { "_id": { "$in": keys.to_vec() } },
            };
            collection.find(filter).projection(projection).await?.try_collect().await
        };
        self.within(all).await
    }

    /// Every call goes through here: the driver has no timeout of its own for an answer.
    pub(super) async fn within<T, F>(&self, call: F) -> Result<T, ProfileError>
    where
        F: IntoFuture<Output = mongodb::error::Result<T>>,
        F::IntoFuture: Future<Output = mongodb::error::Result<T>>,
    {
        match tokio::time::timeout(self.timeout, call.into_future()).await {
            Ok(answer) => answer.map_err(ProfileError::from),
            Err(_) => Err(ProfileError::Late(self.timeout)),
        }
    }
}

pub(super) fn readable(profile: Result<Finished, ProfileError>) -> Found<Finished> {
    match profile {
        Ok(finished) => Found::Known(finished),
        Err(error) => Found::Unreadable(format!("the document is not a profile that Millrace wrote: {error}")),
    }
}
