//! Which entities a view in MongoDB knows, by what it says of them.

use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock::now_ms;
use millrace_common::stores::profiles::{self, Condition, FoundProfile};
use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::{Definitions, View};
use millrace_core::key::KeyText;

use super::Repository;
use super::merge::{Finished, Instant, failed, from_finished};

/// What is looked for.
pub struct Search {
    /// The definitions that the indices mean.
    pub definitions: Arc<Definitions>,
    /// Index of the view.
    pub view: usize,
    /// What holds of each entity.
    pub conditions: Vec<Condition>,
    /// Features whose values are wanted; indices into the view's.
    pub features: Vec<usize>,
    /// Only keys after this one.
    pub after: Option<KeyText>,
    /// The most entities.
    pub limit: u16,
    /// How long it may take.
    pub budget: Duration,
}

/// Some of the entities, in the order of their keys.
pub struct Page {
    /// Keys, and the wanted values of each.
    pub entities: Vec<(KeyText, Vec<FeatureValue>)>,
    /// The key after which the next page begins, if there is one.
    pub next: Option<KeyText>,
}

impl Search {
    /// The view that is searched.
    pub fn view(&self) -> &View {
        &self.definitions.views[self.view]
    }
}

impl Repository {
    /// Finds entities whose values would be served now: what is past the view's `ttl`, or was not found by the last run
    /// that completed, is not there.
    pub async fn search(&self, search: &Search) -> Result<Page, String> {
        let (view, now) = (search.view(), now_ms());
        let completed = self.completed_runs().of(view);
        let asked = profiles::Search {
            view,
            conditions: &search.conditions,
            features: &search.features,
            after: search.after.as_ref().map(KeyText::as_str),
            // One more, to know whether there is a next page.
            limit: search.limit.saturating_add(1),
            since: view.ttl.map(|ttl| now.saturating_sub(ttl)),
            from_run: completed,
            budget: search.budget,
        };
        let mut found = self.profiles.source().search(&asked).await?;
        let is_more = found.len() > usize::from(search.limit);
        found.truncate(search.limit.into());
        let at = Instant { as_of: None, now };
        let values = |profile: FoundProfile| match profile {
            Ok(profile) => from_finished(view, &search.features, profile.map(Finished::from), completed, at),
            Err(reason) => failed(view, &search.features, None, &reason),
        };
        let entity = |(key, profile): (String, FoundProfile)| (KeyText::from_canonical(&key), values(profile));
        let entities: Vec<_> = found.into_iter().map(entity).collect();
        let next = entities.last().filter(|_| is_more).map(|(key, _)| key.clone());
        Ok(Page { entities, next })
    }
}
