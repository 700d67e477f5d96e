//! Profiles in MongoDB: one collection per view, one readable document per key, put monotonically. `document` knows
//! the shape of a document, `put` how one is written, `search` how they are found, `migrate` the indexes. What a state means is `core`'s.

mod document;
mod migrate;
mod put;
mod search;

use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::TryStreamExt;
use millrace_core::definitions::View;
use millrace_core::finished::{Finished, Found};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, CollectionOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection, Database};
use tokio::sync::OnceCell;

pub use migrate::migrate;
pub use put::{ProfilePut, ProfileWritten};
pub use search::{Condition, Search, Test};

/// Connections that may be opened at the same time; the driver's 2 makes a burst wait.
const MAX_CONNECTING: u32 = 8;

/// The documents of one namespace.
#[derive(Clone)]
pub struct ProfileStore {
    client: Client,
    database: Database,
    timeout: Duration,
    /// Whether the server takes `bulkWrite`; asked once.
    bulk: Arc<OnceCell<bool>>,
    /// Documents in a command, as many as the server does in time.
    puts_per_command: Arc<AtomicUsize>,
}

/// Why the profiles did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The URL is none of MongoDB's.
    #[error("failed to read the MongoDB URL: {0}")]
    Url(String),
    /// Not reached, or the connection broke.
    #[error("failed to reach the profiles: {0}")]
    Away(String),
    /// It answered with an error.
    #[error("the profiles refused: error {code}: {message}")]
    Refused {
        /// Its number.
        code: i32,
        /// What it said.
        message: String,
    },
    /// Reached, perhaps, but not in time.
    #[error("the profiles did not answer within {0:?}")]
    Late(Duration),
    /// It answered something that no version of ours writes.
    #[error("unexpected answer of the profiles: {0}")]
    Unexpected(String),
    /// A migration that was applied has changed since.
    #[error("migration {0} was applied with another content; add a new one instead of editing it")]
    Edited(String),
}

/// Errors that stay until somebody changes the view, the collection or the rights. All others may pass, also those that
/// a newer server may bring. (Numbers as in MongoDB's `error_codes.yml`.)
const LASTING_CODES: [i32; 14] = [
    2,   // BadValue
    9,   // FailedToParse
    13,  // Unauthorized
    14,  // TypeMismatch
    18,  // AuthenticationFailed
    59,  // CommandNotFound
    67,  // CannotCreateIndex
    72,  // InvalidOptions
    73,  // InvalidNamespace
    85,  // IndexOptionsConflict
    86,  // IndexKeySpecsConflict
    166, // CommandNotSupportedOnView
    171, // CannotIndexParallelArrays
    197, // InvalidIndexSpecificationOption
];

impl ProfileError {
    /// Whether the same call may succeed later, without anybody's help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Away(_) | Self::Late(_) => true,
            Self::Refused { code, .. } => !LASTING_CODES.contains(code),
            _ => false,
        }
    }
}

/// What the driver says, in short: of a server that it cannot find it shows all that it knows, address and state and
/// all, which is no reader's business and another text each time.
impl From<mongodb::error::Error> for ProfileError {
    fn from(error: mongodb::error::Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Command(refused) => Self::Refused { code: refused.code, message: refused.message.clone() },
            ErrorKind::ServerSelection { .. } => {
                Self::Away("no server that could be asked was found in time".to_owned())
            }
            ErrorKind::Io(error) => Self::Away(error.to_string()),
            kind => Self::Away(kind.to_string()),
        }
    }
}

impl ProfileStore {
    /// Reads the URL; connects when first used, so that it may be away now. `concurrency` is how many calls run at
    /// once; each has `timeout` to answer.
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
        let puts_per_command = Arc::new(AtomicUsize::new(put::MOST_PER_COMMAND));
        Ok(Self { client, database, timeout, bulk: Arc::default(), puts_per_command })
    }

    /// Writes as to a server before 8.0, whatever the server is.
    pub fn with_update_command(mut self) -> Self {
        self.bulk = Arc::new(OnceCell::new_with(Some(false)));
        self
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), ProfileError> {
        self.within(self.database.run_command(doc! { "ping": 1 })).await.map(|_| ())
    }

    /// Name and version of the server, for people.
    pub async fn server(&self) -> Result<String, ProfileError> {
        let info = self.within(self.database.run_command(doc! { "buildInfo": 1 })).await?;
        Ok(info.get_str("version").map_or_else(|_| "unknown".to_owned(), str::to_owned))
    }

    /// The stored states of those keys, as majority-committed: what could be rolled back must not be built upon. A
    /// document without a state has an empty one, which no codec reads: it costs its own key.
    pub async fn load(&self, view: &View, keys: &[&str]) -> Result<HashMap<String, Vec<u8>>, ProfileError> {
        let found = self.find(&self.committed(view), keys, doc! { document::STATE: 1 }).await?;
        found.iter().map(|raw| Ok((document::key(raw)?, document::state(raw)))).collect()
    }

    /// The finished values of `features` (indices into the view's) for each key, in the order asked. A document that
    /// is not a profile that Millrace wrote is `Unreadable`, and costs no other key.
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
        // A key asked twice is answered twice.
        Ok(keys.iter().map(|key| by_key.get(*key).cloned().unwrap_or(Found::Unknown)).collect())
    }

    fn committed(&self, view: &View) -> Collection<RawDocumentBuf> {
        let options = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        self.database.collection_with_options(&document::collection(view), options)
    }

    async fn find(
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

    /// The driver has no timeout of its own for an answer: every call goes through here.
    async fn within<T, F>(&self, call: F) -> Result<T, ProfileError>
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

fn readable(profile: Result<Finished, ProfileError>) -> Found<Finished> {
    match profile {
        Ok(finished) => Found::Known(finished),
        Err(error) => Found::Unreadable(format!("the document is not a profile that Millrace wrote: {error}")),
    }
}
