//! Runs what is due. One process of an installation leads, by a lease; others stand by. What is due follows from the
//! definitions, the clock and what the jobs record, so a new leader needs to know nothing: a view is due when its
//! schedule's latest tick is later than any instant that a run has ended for, and so a missed tick is caught up once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_core::definitions::{Definitions, View};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::run::{Job, JobError, Report, run};
use super::{Progress, Stores};
use crate::clock::now_ms;
use crate::log::job::{self, JobState, Outcome};
use crate::log::registry;
use crate::process::Readiness;
use crate::worker::DefinitionsCache;

/// How often it looks at clock, definitions and jobs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A view whose run ended without being settled (another held it, or it was fenced) is left alone for so long.
const LEAVE_ALONE: Duration = Duration::from_secs(15);

/// How the scheduler works.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// Its name, unique in the installation.
    pub owner: String,
    /// The most runs at once.
    pub parallel: usize,
    /// How long runs in hand may take to finish after a stop; then they are interrupted.
    pub grace: Duration,
}

struct Scheduler {
    stores: Stores,
    config: SchedulerConfig,
    cache: DefinitionsCache,
    lease: Option<Lease>,
    runs: JoinSet<(String, Result<Report, JobError>)>,
    /// Views that run, and those that are left alone until then.
    busy: HashMap<String, Option<Instant>>,
    interrupt: CancellationToken,
}

/// Schedules until `shutdown`, then lets runs in hand finish within the grace period, or interrupts them.
pub async fn run_scheduler(
    stores: Stores,
    config: SchedulerConfig,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let cache = DefinitionsCache::new(stores.log.clone());
    let (runs, busy, interrupt) = (JoinSet::new(), HashMap::new(), CancellationToken::new());
    let mut scheduler = Scheduler { stores, config, cache, lease: None, runs, busy, interrupt };
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        match scheduler.look().await {
            Ok(()) => readiness.set_ready(),
            Err(error) => readiness.set_waiting(&format!("{error:#}")),
        }
        scheduler.collect();
    }
    scheduler.stop().await;
    Ok(())
}

impl Scheduler {
    async fn look(&mut self) -> anyhow::Result<()> {
        let leads = self.lead().await?;
        let Some(version) = registry::everywhere(&self.stores.log).await? else {
            anyhow::bail!("definitions; run `millrace apply`");
        };
        let definitions = self.cache.get(version).await?;
        let views = batch_views(&definitions);
        let names: Vec<String> = views.iter().map(|(_, view)| view.id()).collect();
        let states = job::states(&self.stores.log, &names).await?;
        let now = now_ms();
        for ((index, view), state) in views.into_iter().zip(&states) {
            show_age(view, state, now);
            if leads && let Some(as_of) = due(view, state, now) {
                self.start(Job { definitions: definitions.clone(), view: index, as_of });
            }
        }
        Ok(())
    }

    /// Whether this process schedules now.
    async fn lead(&mut self) -> anyhow::Result<bool> {
        if self.lease.as_ref().is_some_and(|lease| lease.lost.is_cancelled()) {
            tracing::warn!("another scheduler has taken over; standing by");
            self.lease = None;
        }
        if self.lease.is_none() {
            let key = self.stores.log.names().scheduler();
            self.lease = Lease::take(&self.stores.log, key, &self.config.owner).await?.ok();
            if self.lease.is_some() {
                tracing::info!(owner = self.config.owner, "scheduling");
            }
        }
        metrics::gauge!("millrace_batch_leader").set(f64::from(u8::from(self.lease.is_some())));
        Ok(self.lease.is_some())
    }

    fn start(&mut self, job: Job) {
        let view = job.definitions.views[job.view].id();
        let left_alone = |until: &Option<Instant>| until.is_none_or(|until| Instant::now() < until);
        if self.busy.get(&view).is_some_and(left_alone) || self.runs.len() >= self.config.parallel {
            return;
        }
        self.busy.insert(view.clone(), None);
        let (stores, interrupt) = (self.stores.clone(), self.interrupt.clone());
        self.runs.spawn(async move {
            let ended = run(&stores, &job, &Arc::new(Progress::default()), &interrupt).await;
            (view, ended)
        });
    }

    /// Takes note of runs that have ended.
    fn collect(&mut self) {
        while let Some(ended) = self.runs.try_join_next() {
            let Ok((view, ended)) = ended else { continue };
            let settled = matches!(&ended, Ok(report) if report.outcome != Outcome::Interrupted);
            match ended {
                Ok(report) if report.outcome == Outcome::Succeeded => {}
                Ok(report) => tracing::error!(job = report.job_id, reason = report.reason, "run not succeeded"),
                Err(error) => tracing::warn!(view, %error, "run not finished"),
            }
            if settled {
                self.busy.remove(&view);
            } else {
                self.busy.insert(view, Some(Instant::now() + LEAVE_ALONE));
            }
        }
    }

    async fn stop(mut self) {
        let finish = async { while self.runs.join_next().await.is_some() {} };
        // A tenth is for saying that they were interrupted.
        if tokio::time::timeout(self.config.grace.mul_f64(0.9), finish).await.is_err() {
            self.interrupt.cancel();
            while self.runs.join_next().await.is_some() {}
        }
        if let Some(lease) = self.lease {
            lease.give_back().await;
        }
    }
}

/// The views that a query computes, with their indices.
pub fn batch_views(definitions: &Definitions) -> Vec<(usize, &View)> {
    definitions.views.iter().enumerate().filter(|(_, view)| view.batch.is_some()).collect()
}

/// The instant that a view must be computed for now, if any.
fn due(view: &View, state: &JobState, now: i64) -> Option<i64> {
    let tick = view.batch.as_ref()?.schedule.as_ref()?.latest(now)?;
    (tick > 0 && state.settled.is_none_or(|settled| settled < tick)).then_some(tick)
}

/// How old the values that readers get are: what to alert on, whoever runs the job.
#[expect(clippy::cast_precision_loss, reason = "seconds for a gauge")]
pub fn show_age(view: &View, state: &JobState, now: i64) {
    if let Some(completed) = state.completed {
        let seconds = now.saturating_sub(completed.run.as_of) as f64 / 1_000.0;
        metrics::gauge!("millrace_batch_age_seconds", "view" => view.id()).set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::DefinitionsSource;

    #[test]
    fn a_missed_tick_is_due_once_and_a_failed_one_is_not_due_again() {
        let yaml = r#"
entities: { user: { key: user_id, type: int64 } }
views:
  - { name: n, entity: user, query: SELECT 1, schedule: { cron: "0 0 * * *" }, features: [{ name: n, type: int64 }] }
  - { name: m, entity: user, query: SELECT 1, features: [{ name: n, type: int64 }] }
"#;
        let source = DefinitionsSource { yaml: yaml.into(), schemas: Default::default() };
        let definitions = Definitions::compile(source).unwrap();
        let (view, unscheduled) = (&definitions.views[0], &definitions.views[1]);
        let day = 86_400_000;
        let now = 1_000 * day + 5;
        let settled = |at: i64| JobState { settled: Some(at), ..JobState::default() };
        assert_eq!(due(view, &JobState::default(), now), Some(1_000 * day));
        assert_eq!(due(view, &settled(990 * day), now), Some(1_000 * day), "the latest only");
        assert_eq!(due(view, &settled(1_000 * day), now), None);
        assert_eq!(due(view, &settled(1_000 * day), now + day), Some(1_001 * day));
        assert_eq!(due(unscheduled, &JobState::default(), now), None);
    }
}
