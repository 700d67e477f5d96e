//! Finds entities by the values of their documents, page by page in the order of keys. A value goes into the filter as BSON
//! of the type that the feature declares, never as text.

use std::time::Duration;

use futures::TryStreamExt;
use millrace_core::definitions::{ValueType, View};
use millrace_core::finished::{Finished, Found};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use serde_json::Value as Json;

use super::document;
use super::error::ProfileError;
use super::store::{ProfileStore, readable};

/// The server's error for a query that it stopped because it took too long.
const MAX_TIME_EXPIRED: i32 = 50;

/// One page of a search.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The view.
    pub view: &'a View,
    /// All of them must hold.
    pub conditions: &'a [Condition],
    /// The features whose values are returned, as indices into the view's.
    pub features: &'a [usize],
    /// Only keys after this one.
    pub after: Option<&'a str>,
    /// The most entities on the page.
    pub limit: u16,
    /// Leaves out documents that are older, epoch ms: the age that the view's `ttl` limits.
    pub since: Option<i64>,
    /// Leaves out documents that an older run wrote, for a batch view.
    pub from_run: Option<u32>,
    /// How long it may take.
    pub budget: Duration,
}

/// A condition on one feature's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Index of the feature.
    pub feature: usize,
    /// The test of its value.
    pub test: Test,
}

/// A test of a finished value, as readers get it. No test holds for a feature without a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// There is a value.
    Exists,
    /// It equals this value.
    Is(Json),
    /// It differs from this value.
    IsNot(Json),
    /// It equals one of these.
    OneOf(Vec<Json>),
    /// It is less than this.
    Below(Json),
    /// It is at most this.
    UpTo(Json),
    /// It is more than this.
    Above(Json),
    /// It is at least this.
    From(Json),
}

impl ProfileStore {
    /// The entities of a page, with the values of the wanted features, if any are.
    pub async fn search(&self, search: &Search<'_>) -> Result<Vec<(String, Found<Finished>)>, ProfileError> {
        let Search { view, features, budget, .. } = *search;
        let projection = if features.is_empty() {
            doc! { "_id": 1 }
        } else {
            document::projection(view, features)
        };
        let collection = self.database.collection::<RawDocumentBuf>(&document::collection(view));
        let finding = async {
            let find = collection.find(filter(search)).projection(projection).sort(doc! { "_id": 1 });
            find.limit(i64::from(search.limit)).max_time(budget).await?.try_collect::<Vec<_>>().await
        };
        let found = match tokio::time::timeout(budget, finding).await {
            Err(_) => return Err(ProfileError::Late(budget)),
            Ok(Err(error)) => return Err(late_or_refused(error, budget)),
            Ok(Ok(found)) => found,
        };
        let entity = |raw: &RawDocumentBuf| {
            let key = document::key(raw)?;
            if features.is_empty() {
                return Ok((key, Found::Unknown));
            }
            Ok((key, readable(document::profile(view, features, raw))))
        };
        found.iter().map(entity).collect()
    }
}

fn late_or_refused(error: mongodb::error::Error, budget: Duration) -> ProfileError {
    match error.kind.as_ref() {
        ErrorKind::Command(command) if command.code == MAX_TIME_EXPIRED => ProfileError::Late(budget),
        _ => error.into(),
    }
}

fn filter(search: &Search<'_>) -> Document {
    let mut all: Vec<Document> = Vec::new();
    all.extend(search.after.map(|key| doc! { "_id": { "$gt": key } }));
    all.extend(search.since.map(|since| match search.view.batch {
        // The values of a run are as old as its instant, not as their event time.
        Some(_) => doc! { "checkpoint.ms": { "$gte": since } },
        None => doc! { "metadata.updated_at": { "$gte": mongodb::bson::DateTime::from_millis(since) } },
    }));
    all.extend(search.from_run.map(|run| doc! { "checkpoint.generation": { "$gte": i64::from(run) } }));
    all.extend(search.conditions.iter().map(|condition| condition.filter(search.view)));
    if all.is_empty() {
        doc! {}
    } else {
        doc! { "$and": all }
    }
}

impl Condition {
    fn filter(&self, view: &View) -> Document {
        let feature = &view.features[self.feature];
        let bson = |value: &Json| document::to_bson(value.clone(), &feature.value_type);
        let test = match &self.test {
            // For a list, `$ne` tests the items: a list that holds a null would be left out.
            Test::Exists if matches!(feature.value_type, ValueType::List(_)) => doc! { "$type": "array" },
            Test::Exists => doc! { "$ne": Bson::Null },
            Test::Is(value) => doc! { "$eq": bson(value) },
            Test::IsNot(value) => doc! { "$nin": [bson(value), Bson::Null] },
            Test::OneOf(values) => doc! { "$in": values.iter().map(bson).collect::<Vec<_>>() },
            Test::Below(value) => doc! { "$lt": bson(value) },
            Test::UpTo(value) => doc! { "$lte": bson(value) },
            Test::Above(value) => doc! { "$gt": bson(value) },
            Test::From(value) => doc! { "$gte": bson(value) },
        };
        doc! { document::value(feature): test }
    }
}
