//! Finding entities by what their documents say, page by page in the order of keys. Values go into a filter as BSON of
//! the type that the feature declares, never as text.

use std::time::Duration;

use futures::TryStreamExt;
use millrace_core::definitions::{ValueType, View};
use millrace_core::finished::{Finished, Found};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use serde_json::Value as Json;

use super::{ProfileError, ProfileStore, document, readable};

/// The server has stopped a query that took too long.
const MAX_TIME_EXPIRED: i32 = 50;

/// What a page is asked for.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The view.
    pub view: &'a View,
    /// All of them hold.
    pub conditions: &'a [Condition],
    /// Features whose values are answered; indices into the view's.
    pub features: &'a [usize],
    /// Only keys after this one.
    pub after: Option<&'a str>,
    /// The most entities.
    pub limit: u16,
    /// Leaves out what is older, epoch ms: the age that a view's `ttl` judges.
    pub since: Option<i64>,
    /// Leaves out what an older run wrote, of a batch view.
    pub from_run: Option<u32>,
    /// How long it may take.
    pub budget: Duration,
}

/// What is asked of one feature's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Index of the feature.
    pub feature: usize,
    /// What holds of its value.
    pub test: Test,
}

/// What holds of a value that is there; nothing holds of one that is not. Values are finished ones, as readers get them.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// There is one.
    Exists,
    /// It is this one.
    Is(Json),
    /// It is another one.
    IsNot(Json),
    /// It is one of these.
    OneOf(Vec<Json>),
    /// It is less.
    Below(Json),
    /// It is at most this.
    UpTo(Json),
    /// It is more.
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
        // A run's values are as old as its instant, whatever event time they have.
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
            // Of a list, `$ne` looks at the items: one that holds a null would be left out.
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
