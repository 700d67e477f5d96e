//! Migrations of the profiles: the indexes that every view's collection has, from `migrations/mongodb`. Applied ones
//! are recorded with a hash of their text; an edited one is refused. Collections that come later get the same indexes
//! before their first document, from `ensure`.

use std::time::Duration;

use millrace_core::definitions::View;
use mongodb::bson::{Bson, Document, doc};
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use super::document;
use super::error::ProfileError;
use super::store::ProfileStore;

/// Name and text, in order; forward only.
const MIGRATIONS: [(&str, &str); 1] =
    [("0001_profiles", include_str!("../../../../migrations/mongodb/0001_profiles.json"))];
/// The collection of applied migrations. The name of a view's collection ends in `_v` and a number, so none is equal.
const APPLIED: &str = "migrations";
/// How long building an index over existing documents may take.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Migration {
    profiles: Profiles,
}

#[derive(Deserialize)]
struct Profiles {
    indexes: Vec<Document>,
}

/// Brings the database of `namespace` up to date. Applying twice changes nothing. Returns the migrations that were applied
/// now.
pub async fn migrate(url: &str, namespace: &str) -> Result<Vec<&'static str>, ProfileError> {
    let store = ProfileStore::connect(url, namespace, 1, TIMEOUT).await?;
    let mut applied = Vec::new();
    for (name, text) in MIGRATIONS {
        if store.record(name, text).await? {
            applied.push(name);
        }
    }
    let names = store.within(store.database.list_collection_names()).await?;
    for collection in names.iter().filter(|name| is_profiles(name)) {
        store.create_indexes(collection, Vec::new()).await?;
    }
    Ok(applied)
}

impl ProfileStore {
    /// Gives a view's collection its indexes, before its first document. Cheap where they exist.
    pub async fn ensure(&self, view: &View) -> Result<(), ProfileError> {
        let declared = view.features.iter().filter(|feature| feature.index).map(|feature| {
            // With the key, because pages are ordered by it.
            let key = doc! { document::value(feature): 1, "_id": 1 };
            doc! { "name": format!("by_{}", feature.name), "key": key }
        });
        self.create_indexes(&document::collection(view), declared.collect()).await
    }

    /// Creates the indexes that all profiles have, and the declared ones.
    async fn create_indexes(&self, collection: &str, declared: Vec<Document>) -> Result<(), ProfileError> {
        let mut indexes: Vec<Bson> = declared.into_iter().map(Bson::Document).collect();
        for (name, text) in MIGRATIONS {
            let migration: Migration =
                serde_json::from_str(text).map_err(|error| ProfileError::Unexpected(format!("{name}: {error}")))?;
            indexes.extend(migration.profiles.indexes.into_iter().map(Bson::Document));
        }
        let command = doc! { "createIndexes": collection, "indexes": indexes, "writeConcern": { "w": "majority" } };
        self.within(self.database.run_command(command)).await.map(|_| ())
    }

    /// Records a migration. Returns false where it is recorded already.
    async fn record(&self, name: &str, text: &str) -> Result<bool, ProfileError> {
        let hash = format!("{:032x}", xxh3_128(text.as_bytes()));
        let applied = self.database.collection::<Document>(APPLIED);
        let update = doc! { "$setOnInsert": { "hash": &hash } };
        let written = self.within(applied.update_one(doc! { "_id": name }, update).upsert(true)).await?;
        if written.upserted_id.is_some() {
            return Ok(true);
        }
        let stored = self.within(applied.find_one(doc! { "_id": name })).await?;
        match stored.and_then(|row| row.get_str("hash").map(str::to_owned).ok()) {
            Some(stored) if stored == hash => Ok(false),
            _ => Err(ProfileError::Edited(name.to_owned())),
        }
    }
}

/// Whether a collection holds a view's profiles: `{view}_v{version}`.
fn is_profiles(name: &str) -> bool {
    name.rsplit_once("_v").is_some_and(|(view, version)| {
        !view.is_empty() && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_parses() {
        for (name, text) in MIGRATIONS {
            assert!(serde_json::from_str::<Migration>(text).is_ok(), "{name}");
        }
    }

    #[test]
    fn only_collections_of_views_get_indexes() {
        assert!(is_profiles("household_profile_v1"));
        assert!(!is_profiles("migrations"));
        assert!(!is_profiles("_v1"));
        assert!(!is_profiles("a_vx"));
    }
}
