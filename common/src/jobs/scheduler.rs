//! Begins the runs that are due. One process of an installation leads, by a lease; the others stand by. A view is due when
//! the latest tick of its schedule is later than any instant for which a run has ended, so a missed tick is caught up once.
//! All this follows from the definitions, the clock and the records of the jobs, so a new leader needs nothing else. Of the
//! views that are due, the one that has waited longest begins first.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::definitions::{Definitions, View};
use tokio_util::sync::CancellationToken;

use super::in_flight::RunsInFlight;
use super::job::Job;
use super::progress::RunProgress;
use super::run::{LEASE, give_back, run};
use super::stores::JobStores;
use crate::clock::now_ms;
use crate::definitions::{CurrentDefinitions, DefinitionsFollower};
use crate::log::job::{self, JobState, RunOutcome};
use crate::log::{Acquisition, Lease, OnExpiry};
use crate::process::Readiness;

/// How often it checks the clock, the definitions and the jobs.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How the scheduler works.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// Its name, unique in the installation.
    pub owner: String,
    /// The most runs at once; one that waits for its store does not count.
    pub parallel: usize,
    /// How long runs in flight may take to finish after a stop. Then they are interrupted.
    pub grace: Duration,
}

struct Scheduler {
    stores: JobStores,
    config: SchedulerConfig,
    follower: DefinitionsFollower,
    lease: Option<Lease>,
    in_flight: RunsInFlight,
    interrupt: CancellationToken,
}

/// Schedules until `shutdown`, then lets the runs in flight finish within the grace period, or interrupts them.
pub async fn run_scheduler(
    stores: JobStores,
    config: SchedulerConfig,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let follower = DefinitionsFollower::new(stores.log.clone());
    let (in_flight, interrupt) = (RunsInFlight::new(config.parallel), CancellationToken::new());
    let mut scheduler = Scheduler { stores, config, follower, lease: None, in_flight, interrupt };
    let mut every = tokio::time::interval(CHECK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        match scheduler.check().await {
            Ok(()) => readiness.set_ready(),
            Err(error) => readiness.set_waiting(&format!("{error:#}")),
        }
        scheduler.in_flight.collect();
    }
    scheduler.stop().await;
    Ok(())
}

impl Scheduler {
    async fn check(&mut self) -> anyhow::Result<()> {
        let leads = self.lead().await?;
        let Some(CurrentDefinitions { definitions, .. }) = self.follower.current().await? else {
            anyhow::bail!("definitions; run `millrace apply`");
        };
        let views = batch_views(&definitions);
        let names: Vec<String> = views.iter().map(|(_, view)| view.id()).collect();
        let states = job::states(&self.stores.log, &names).await?;
        let now = now_ms();
        for ((_, view), state) in views.iter().zip(&states) {
            show_age(view, state, now);
            show_last_run(view, state);
        }
        for (view, as_of) in all_due(&views, &states, now).into_iter().filter(|_| leads) {
            self.start(Job { definitions: definitions.clone(), view, as_of });
        }
        Ok(())
    }

    /// Whether this process schedules now.
    async fn lead(&mut self) -> anyhow::Result<bool> {
        if self.lease.as_ref().is_some_and(|lease| lease.lost().is_cancelled()) {
            tracing::warn!("another scheduler has taken over; standing by");
            self.lease = None;
        }
        if self.lease.is_none() {
            let key = self.stores.log.names().scheduler();
            let owner = &self.config.owner;
            self.lease = match Lease::acquire(&self.stores.log, key, owner, LEASE, OnExpiry::Renewed).await? {
                Acquisition::Acquired(lease) => {
                    tracing::info!(owner, "scheduling");
                    Some(lease)
                }
                Acquisition::Held(_) => None,
            };
        }
        metrics::gauge!("millrace_batch_leader").set(f64::from(u8::from(self.lease.is_some())));
        Ok(self.lease.is_some())
    }

    fn start(&mut self, job: Job) {
        let view = &job.definitions.clone().views[job.view];
        if !self.in_flight.has_room_for(view) {
            return;
        }
        let (stores, interrupt) = (self.stores.clone(), self.interrupt.clone());
        let progress = Arc::new(RunProgress::default());
        let watched = progress.clone();
        self.in_flight.begin(view, watched, async move { run(&stores, &job, &progress, &interrupt).await });
    }

    async fn stop(mut self) {
        // A tenth of the grace period is for recording that they were interrupted.
        if tokio::time::timeout(self.config.grace.mul_f64(0.9), self.in_flight.finish()).await.is_err() {
            self.interrupt.cancel();
            self.in_flight.finish().await;
        }
        if let Some(lease) = self.lease {
            give_back(&lease).await;
        }
    }
}

/// The views that a query computes, with their indices.
pub fn batch_views(definitions: &Definitions) -> Vec<(usize, &View)> {
    definitions.views.iter().enumerate().filter(|(_, view)| view.batch.is_some()).collect()
}

/// A run that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    /// The instant that the view must be computed for.
    as_of: i64,
    /// The first tick for which it was not computed. None, which sorts first, where it never was.
    since: Option<i64>,
}

/// The views that must be computed now, each with its instant. The one that has waited longest comes first.
fn all_due(views: &[(usize, &View)], states: &[JobState], now: i64) -> Vec<(usize, i64)> {
    let due = views.iter().zip(states).filter_map(|((index, view), state)| Some((due(view, state, now)?, *index)));
    let mut all: Vec<(Due, usize)> = due.collect();
    all.sort_by_key(|(due, _)| due.since);
    all.into_iter().map(|(due, index)| (index, due.as_of)).collect()
}

/// Whether a view must be computed now.
fn due(view: &View, state: &JobState, now: i64) -> Option<Due> {
    let schedule = view.batch.as_ref()?.schedule.as_ref()?;
    let as_of = schedule.latest(now)?;
    let since = state.settled.and_then(|settled| schedule.next(settled));
    (as_of > 0 && state.settled.is_none_or(|settled| settled < as_of)).then_some(Due { as_of, since })
}

/// Sets the gauge of the age of the values that readers get, or of the time for which there should have been some. Alert
/// on it.
#[expect(clippy::cast_precision_loss, reason = "seconds for a gauge")]
pub fn show_age(view: &View, state: &JobState, now: i64) {
    if let Some(as_of) = state.completed.map(|completed| completed.run.as_of).or(state.first) {
        let seconds = now.saturating_sub(as_of) as f64 / 1_000.0;
        metrics::gauge!("millrace_batch_age_seconds", "view" => view.id()).set(seconds);
    }
}

/// Sets the gauge of whether the last run failed or died.
fn show_last_run(view: &View, state: &JobState) {
    if let Some(outcome) = state.last {
        let failed = f64::from(u8::from(outcome != RunOutcome::Succeeded));
        metrics::gauge!("millrace_batch_last_run_failed", "view" => view.id()).set(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::job::CompletedRun;
    use millrace_core::batch::Run;
    use millrace_core::definitions::DefinitionsSource;

    fn definitions() -> Definitions {
        let yaml = r#"
entities: { user: { key: user_id, type: int64 } }
views:
  - { name: n, entity: user, query: SELECT 1, schedule: { cron: "0 0 * * *" }, features: [{ name: n, type: int64 }] }
  - { name: m, entity: user, query: SELECT 1, features: [{ name: n, type: int64 }] }
"#;
        let source = DefinitionsSource { yaml: yaml.into(), schemas: Default::default() };
        Definitions::compile(source).unwrap()
    }

    #[test]
    fn a_missed_tick_is_due_once_and_a_failed_one_is_not_due_again() {
        let definitions = definitions();
        let (view, unscheduled) = (&definitions.views[0], &definitions.views[1]);
        let day = 86_400_000;
        let now = 1_000 * day + 5;
        let settled = |at: i64| JobState { settled: Some(at), ..JobState::default() };
        let of = |state: &JobState, now| due(view, state, now).map(|due| due.as_of);
        assert_eq!(of(&JobState::default(), now), Some(1_000 * day));
        assert_eq!(of(&settled(990 * day), now), Some(1_000 * day), "the latest only");
        assert_eq!(of(&settled(1_000 * day), now), None);
        assert_eq!(of(&settled(1_000 * day), now + day), Some(1_001 * day));
        assert_eq!(due(unscheduled, &JobState::default(), now), None);
    }

    #[test]
    fn what_has_waited_longest_begins_first() {
        let definitions = definitions();
        let (day, view) = (86_400_000, &definitions.views[0]);
        let settled = |at: i64| JobState { settled: Some(at), ..JobState::default() };
        let states = [settled(998 * day), settled(990 * day), settled(1_000 * day), JobState::default()];
        let views = [(0, view), (1, view), (2, view), (3, view)];
        let at = 1_000 * day;
        assert_eq!(all_due(&views, &states, at + 5), [(3, at), (1, at), (0, at)], "never computed: before all others");
    }

    #[test]
    fn a_view_that_never_succeeded_has_an_age_and_one_whose_last_run_failed_says_so() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let definitions = definitions();
        let view = &definitions.views[0];
        let shown = |state: JobState| {
            metrics::with_local_recorder(&recorder, || {
                show_age(view, &state, 70_000);
                show_last_run(view, &state);
            });
            handle.render()
        };
        let never = shown(JobState { first: Some(10_000), last: Some(RunOutcome::Failed), ..JobState::default() });
        assert!(never.contains(r#"millrace_batch_age_seconds{view="n@1"} 60"#), "{never}");
        assert!(never.contains(r#"millrace_batch_last_run_failed{view="n@1"} 1"#), "{never}");
        let completed = CompletedRun { run: Run { number: 3, as_of: 40_000 }, at: 50_000, rows: 1 };
        let state = JobState { first: Some(10_000), last: Some(RunOutcome::Succeeded), ..JobState::default() };
        let succeeded = shown(JobState { completed: Some(completed), ..state });
        assert!(succeeded.contains(r#"millrace_batch_age_seconds{view="n@1"} 30"#), "{succeeded}");
        assert!(succeeded.contains(r#"millrace_batch_last_run_failed{view="n@1"} 0"#), "{succeeded}");
    }
}
