//! A search for entities by their values in MongoDB, and the page that it finds.

use std::sync::Arc;
use std::time::Duration;

use millrace_common::stores::profiles::{self, Condition};
use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Definitions, View};
use millrace_core::finished::{Finished, Found};
use millrace_core::key::KeyText;

use super::completed_runs::CompletedRuns;
use super::mongodb::ProfileSource;
use super::time::ReadTime;
use super::values::from_found;

/// A search for entities.
pub struct EntitySearch {
    /// The definitions that the indices refer to.
    pub definitions: Arc<Definitions>,
    /// Index of the view.
    pub view: usize,
    /// Conditions that every entity meets.
    pub conditions: Vec<Condition>,
    /// Features whose values are wanted, as indices into the view's.
    pub features: Vec<usize>,
    /// Only keys after this one are found.
    pub after: Option<KeyText>,
    /// The most entities.
    pub limit: u16,
    /// How long the search may take.
    pub budget: Duration,
}

/// Some of the entities, in the order of their keys.
pub struct EntityPage {
    /// Keys, and the wanted values of each.
    pub entities: Vec<(KeyText, Vec<FeatureValue>)>,
    /// The key after which the next page begins. None on the last page.
    pub next: Option<KeyText>,
}

impl EntitySearch {
    /// The view that is searched.
    pub fn view(&self) -> &View {
        &self.definitions.views[self.view]
    }

    /// Finds entities whose values would be served at `now`: those within the view's `ttl`, and in a batch view those
    /// that the last completed run found.
    pub async fn page(&self, source: &ProfileSource, runs: &CompletedRuns, now: i64) -> Result<EntityPage, String> {
        let view = self.view();
        let completed = runs.of(view);
        let mut found = source.search(&self.query(completed, now)).await?;
        let has_more = found.len() > usize::from(self.limit);
        found.truncate(self.limit.into());
        let at = ReadTime { as_of: None, now };
        let entity = |(key, found): (String, Found<Finished>)| {
            (KeyText::from_canonical(&key), from_found(view, &self.features, found, completed, at))
        };
        let entities: Vec<_> = found.into_iter().map(entity).collect();
        let next = entities.last().filter(|_| has_more).map(|(key, _)| key.clone());
        Ok(EntityPage { entities, next })
    }

    fn query(&self, completed: Option<u32>, now: i64) -> profiles::Search<'_> {
        let view = self.view();
        profiles::Search {
            view,
            conditions: &self.conditions,
            features: &self.features,
            after: self.after.as_ref().map(KeyText::as_str),
            // One more than the page holds tells whether there is a next page.
            limit: self.limit.saturating_add(1),
            since: view.ttl.map(|ttl| now.saturating_sub(ttl)),
            from_run: completed,
            budget: self.budget,
        }
    }
}
