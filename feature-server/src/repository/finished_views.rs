//! Reads of the views in MongoDB and ClickHouse, stores that finish values themselves: one lookup per view through the
//! cache, shared by all requests, and each request's values from it.

use std::time::Duration;

use futures::future::join_all;
use millrace_core::assemble::{FeatureValue, Status};
use millrace_core::definitions::{Store, View};
use millrace_core::finished::{Finished, Found};

use super::cached::{CachedReader, Edition, Freshness, Lookup, ViewQuery, ViewSource};
use super::completed_runs::CompletedRuns;
use super::plan::ViewPlan;
use super::request::FeatureRequest;
use super::store_part::{StorePart, count_error, nothing};
use super::time::ReadTime;
use super::values::{failed, from_found, select};
use super::view_reads::{ReadShare, ViewRead, view_reads};
use crate::catalog::store_name;

/// Reads what the requests want of one store.
pub async fn read<S: ViewSource>(
    reader: &CachedReader<S>,
    store: Store,
    requests: &[FeatureRequest],
    runs: &CompletedRuns,
    now: i64,
    budget: Duration,
) -> Vec<StorePart> {
    // ClickHouse computes values for an instant. Stored values are the same for every instant.
    let instant = |request: &FeatureRequest| match store {
        Store::ClickHouse => request.as_of,
        Store::Redis | Store::MongoDb => None,
    };
    let (reads, shares) = view_reads(requests, |request| request.plan.views(store), instant);
    if reads.is_empty() {
        return nothing(requests);
    }
    let lookups = join_all(reads.iter().map(async |read| {
        let query = query(reader, read, runs, now);
        reader.get(&query, &read.keys, budget).await
    }));
    let looked_up = LookedUpViews { store, reads: &reads, lookups: &lookups.await, runs, now };
    let parts: Vec<StorePart> =
        requests.iter().zip(&shares).map(|(request, shares)| looked_up.part(request, shares)).collect();
    if parts.iter().any(|part| part.unavailable.is_some()) {
        count_error(store);
    }
    parts
}

fn query<S: ViewSource>(reader: &CachedReader<S>, read: &ViewRead<'_>, runs: &CompletedRuns, now: i64) -> ViewQuery {
    let view = read.request.plan.view(read.part);
    let (edition, freshness) = match view.store {
        Store::ClickHouse => (read.as_of.map_or(Edition::Current, Edition::AsOf), Freshness::Cached),
        Store::Redis | Store::MongoDb => {
            // A reader who names an instant wants to know what is stored now.
            let must_read = read.names_instant || reader.ttl(view).is_zero();
            let freshness = if must_read { Freshness::ReadNow } else { Freshness::Cached };
            (runs.of(view).map_or(Edition::Current, Edition::SinceRun), freshness)
        }
    };
    ViewQuery {
        definitions: read.request.plan.definitions.clone(),
        view: read.part.view,
        features: read.features.as_slice().into(),
        at: read.request.time(now),
        edition,
        freshness,
    }
}

/// The answer of the store, and everything that turns it into values.
struct LookedUpViews<'a> {
    store: Store,
    reads: &'a [ViewRead<'a>],
    lookups: &'a [Vec<Lookup>],
    runs: &'a CompletedRuns,
    now: i64,
}

impl LookedUpViews<'_> {
    /// The values of one request.
    fn part(&self, request: &FeatureRequest, shares: &[ReadShare]) -> StorePart {
        let mut unavailable = None;
        let of_view = |(part, (read, start)): (&ViewPlan, &ReadShare)| {
            let view = request.plan.view(part);
            let wanted = WantedValues {
                view,
                features: &self.reads[*read].features,
                wanted: part.wanted.features(),
                completed: self.runs.of(view),
                at: request.time(self.now),
            };
            let lookups = &self.lookups[*read][*start..][..request.keys.len()];
            lookups.iter().map(|lookup| wanted.values(lookup, &mut unavailable)).collect()
        };
        let views = request.plan.views(self.store).iter().zip(shares).map(of_view).collect();
        StorePart { views, unavailable }
    }
}

/// The features that a request wants of a view, of which `features` were read.
struct WantedValues<'a> {
    view: &'a View,
    features: &'a [usize],
    wanted: &'a [usize],
    completed: Option<u32>,
    at: ReadTime,
}

impl WantedValues<'_> {
    /// The values of one key. Notes in `unavailable` why the store did not answer, if it did not.
    fn values(&self, lookup: &Lookup, unavailable: &mut Option<String>) -> Vec<FeatureValue> {
        match lookup {
            Lookup::Current(found) => {
                self.found(found.as_ref().map(|finished| select(finished, self.features, self.wanted)))
            }
            Lookup::Unavailable(reason) => {
                let reason = self.note(reason, unavailable);
                failed(self.view, self.wanted, None, &reason)
            }
            Lookup::LastKnown(finished, reason) => {
                let reason = self.note(reason, unavailable);
                let mut values = self.found(Found::Known(select(finished, self.features, self.wanted)));
                for value in &mut values {
                    value.status = Status::Error;
                    value.reason = Some(format!("{reason}; this is the last known value"));
                }
                values
            }
        }
    }

    fn found(&self, found: Found<Finished>) -> Vec<FeatureValue> {
        from_found(self.view, self.wanted, found, self.completed, self.at)
    }

    fn note(&self, reason: &str, unavailable: &mut Option<String>) -> String {
        let reason = format!("{}: {reason}", store_name(self.view.store));
        unavailable.get_or_insert_with(|| reason.clone());
        reason
    }
}
