//! Begins the runs of batch views that are due. One process of an installation leads, by a lease; the others stand by. The
//! run itself is left to `run`, and the limit on runs at once to `in_flight`.
//!
//! A view is due when the latest tick of its schedule is later than every instant for which a run has succeeded or failed.
//! So ticks that were missed are caught up by one run, for the latest of them; a failed run is not repeated before the
//! next tick; an interrupted or abandoned one is repeated. The view that has waited longest begins first. A new leader
//! needs only the definitions, the clock and the records of the jobs to decide the same.

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

/// How often the scheduler checks which views are due.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The settings of a scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// The name of this process as owner of the scheduler's lease, unique in the installation.
    pub owner: String,
    /// The most runs at once. A run does not count while it waits for the online store that it writes into.
    pub parallel: usize,
    /// The grace period: how long the process may take to end after a stop. Runs get nine tenths of it to finish; then they
    /// are interrupted.
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
    /// Shows the age and the last run of each batch view, and starts the runs that are due if this process leads. An error
    /// follows the words "waiting for" in the readiness.
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

    /// Acquires the lease if it is free. Returns whether this process holds it, and so leads.
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

    /// Starts a run, unless there is no room for it now.
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
        // The last tenth of the grace period is for recording which runs were interrupted.
        if tokio::time::timeout(self.config.grace.mul_f64(0.9), self.in_flight.finish()).await.is_err() {
            self.interrupt.cancel();
            self.in_flight.finish().await;
        }
        if let Some(lease) = self.lease {
            give_back(&lease).await;
        }
    }
}

/// The batch views of these definitions, each with its index in them.
pub fn batch_views(definitions: &Definitions) -> Vec<(usize, &View)> {
    definitions.views.iter().enumerate().filter(|(_, view)| view.batch.is_some()).collect()
}

/// The run for which a view is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    /// The instant as of which the view must be computed: the latest tick, epoch ms.
    as_of: i64,
    /// The first tick after the latest instant for which a run has succeeded or failed, epoch ms: the view has waited since
    /// then. None, which sorts first, if there is no such run.
    since: Option<i64>,
}

/// The indices of the views that are due, each with the instant to compute. The view that has waited longest comes first.
fn all_due(views: &[(usize, &View)], states: &[JobState], now: i64) -> Vec<(usize, i64)> {
    let due = views.iter().zip(states).filter_map(|((index, view), state)| Some((due(view, state, now)?, *index)));
    let mut all: Vec<(Due, usize)> = due.collect();
    all.sort_by_key(|(due, _)| due.since);
    all.into_iter().map(|(due, index)| (index, due.as_of)).collect()
}

/// The run for which a view is due. None if it is not due, or has no schedule.
fn due(view: &View, state: &JobState, now: i64) -> Option<Due> {
    let schedule = view.batch.as_ref()?.schedule.as_ref()?;
    let as_of = schedule.latest(now)?;
    let since = state.settled.and_then(|settled| schedule.next(settled));
    (as_of > 0 && state.settled.is_none_or(|settled| settled < as_of)).then_some(Due { as_of, since })
}

/// Sets the gauge of a batch view's age: `now` minus the instant of the last run that succeeded, or of the first run if
/// none has succeeded. Sets nothing before the first run. Operators alert on this gauge.
#[expect(clippy::cast_precision_loss, reason = "seconds for a gauge")]
pub fn show_age(view: &View, state: &JobState, now: i64) {
    if let Some(as_of) = state.completed.map(|completed| completed.run.as_of).or(state.first) {
        let seconds = now.saturating_sub(as_of) as f64 / 1_000.0;
        metrics::gauge!("millrace_batch_age_seconds", "view" => view.id()).set(seconds);
    }
}

/// Sets the gauge that is 0 if the last run succeeded, and 1 if it failed or was abandoned. Interrupted runs do not count.
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
