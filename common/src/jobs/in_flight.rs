//! The runs that a scheduler has in flight: which runs may begin beside them, and what is noted when one ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_core::definitions::{Store, View};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::error::JobError;
use super::job::RunReport;
use super::progress::RunProgress;
use crate::log::job::RunOutcome;

/// How long a view is left alone after a run that ended without being settled: another process held it, or fenced it.
const LEAVE_ALONE: Duration = Duration::from_secs(15);

type RunResult = Result<RunReport, JobError>;

/// One run in flight.
struct RunInFlight {
    view: String,
    store: Store,
    progress: Arc<RunProgress>,
}

/// All runs in flight, and the views that are left alone.
pub(super) struct RunsInFlight {
    /// The most runs that work at once.
    parallel: usize,
    tasks: JoinSet<RunResult>,
    runs: HashMap<Id, RunInFlight>,
    left_alone: HashMap<String, Instant>,
}

impl RunsInFlight {
    pub(super) fn new(parallel: usize) -> Self {
        Self { parallel, tasks: JoinSet::new(), runs: HashMap::new(), left_alone: HashMap::new() }
    }

    /// Whether a run of that view may begin. A run that waits for its store does not count for views of other stores. It
    /// holds up views of the same store, which would only wait beside it.
    pub(super) fn has_room_for(&self, view: &View) -> bool {
        let id = view.id();
        let (waiting, working): (Vec<&RunInFlight>, Vec<&RunInFlight>) =
            self.runs.values().partition(|run| run.progress.waits_for_store());
        let busy = self.runs.values().any(|run| run.view == id) || self.left_alone.contains_key(&id);
        !busy && working.len() < self.parallel && waiting.iter().all(|run| run.store != view.store)
    }

    pub(super) fn begin(
        &mut self,
        view: &View,
        progress: Arc<RunProgress>,
        run: impl Future<Output = RunResult> + Send + 'static,
    ) {
        let task = self.tasks.spawn(run).id();
        self.runs.insert(task, RunInFlight { view: view.id(), store: view.store, progress });
    }

    /// Notes the runs that have ended.
    pub(super) fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let (task, ended) = match ended {
                Ok((task, ended)) => (task, Ok(ended)),
                Err(error) => (error.id(), Err(error)),
            };
            let Some(RunInFlight { view, .. }) = self.runs.remove(&task) else { continue };
            let settled = matches!(&ended, Ok(Ok(report)) if report.outcome != RunOutcome::Interrupted);
            match ended {
                Ok(Ok(report)) if report.outcome == RunOutcome::Succeeded => {}
                Ok(Ok(report)) => tracing::error!(job = report.job_id, reason = report.reason, "run not succeeded"),
                Ok(Err(error)) => tracing::warn!(view, %error, "run not finished"),
                Err(error) => tracing::error!(view, %error, "run panicked: this is a bug in Millrace"),
            }
            if !settled {
                self.left_alone.insert(view, Instant::now() + LEAVE_ALONE);
            }
        }
        self.left_alone.retain(|_, until| Instant::now() < *until);
    }

    /// Waits until all have ended.
    pub(super) async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::{Definitions, DefinitionsSource};

    /// Views `a` and `b` in Redis, `c` and `d` in MongoDB.
    fn views() -> Vec<View> {
        let view = |name: &str, store: &str| {
            format!(
                "  - {{ name: {name}, entity: user, store: {store}, query: SELECT 1, \
                 features: [{{ name: n, type: int64 }}] }}\n"
            )
        };
        let views = [view("a", "redis"), view("b", "redis"), view("c", "mongodb"), view("d", "mongodb")].concat();
        let yaml = format!("entities: {{ user: {{ key: user_id, type: int64 }} }}\nviews:\n{views}");
        let source = DefinitionsSource { yaml, schemas: Default::default() };
        Definitions::compile(source).unwrap().views
    }

    #[tokio::test]
    async fn a_run_that_waits_for_its_store_takes_no_slot_of_another_stores_views() {
        let views = views();
        let mut in_flight = RunsInFlight::new(2);
        let progress: Vec<Arc<RunProgress>> = (0..2).map(|_| Arc::default()).collect();
        in_flight.begin(&views[2], progress[0].clone(), std::future::pending());
        assert!(!in_flight.has_room_for(&views[2]), "it runs");
        in_flight.begin(&views[0], progress[1].clone(), std::future::pending());
        assert!(!in_flight.has_room_for(&views[1]) && !in_flight.has_room_for(&views[3]), "two work");
        progress[0].wait_for_store("mongodb: unavailable".to_owned());
        assert!(in_flight.has_room_for(&views[1]), "one works");
        assert!(!in_flight.has_room_for(&views[3]), "it would wait too");
        progress[0].wait_for("clickhouse: unavailable".to_owned());
        assert!(!in_flight.has_room_for(&views[1]), "they all need the warehouse");
        progress[0].goes_on();
        assert!(!in_flight.has_room_for(&views[1]));
    }

    #[tokio::test]
    async fn a_run_that_panics_leaves_its_view_alone_for_a_while_and_not_for_ever() {
        let views = views();
        let mut in_flight = RunsInFlight::new(1);
        in_flight.begin(&views[0], Arc::default(), async { panic!("a test") });
        while !in_flight.has_room_for(&views[1]) {
            tokio::task::yield_now().await;
            in_flight.collect();
        }
        assert!(!in_flight.has_room_for(&views[0]), "it is left alone");
        in_flight.left_alone.values_mut().for_each(|until| *until = Instant::now());
        in_flight.collect();
        assert!(in_flight.has_room_for(&views[0]));
    }
}
