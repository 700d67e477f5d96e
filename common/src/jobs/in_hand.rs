//! The runs that a scheduler has in hand: which may begin beside them, and what is noted when one ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_core::definitions::{Store, View};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::Progress;
use super::run::{JobError, Report};
use crate::log::job::Outcome;

/// A view whose run ended without being settled (another held it, or it was fenced) is left alone for so long.
const LEAVE_ALONE: Duration = Duration::from_secs(15);

type Ended = Result<Report, JobError>;

/// One of them.
struct Run {
    view: String,
    store: Store,
    progress: Arc<Progress>,
}

/// All of them, and the views that are left alone.
pub(super) struct InHand {
    /// The most that work at once.
    parallel: usize,
    tasks: JoinSet<Ended>,
    runs: HashMap<Id, Run>,
    left_alone: HashMap<String, Instant>,
}

impl InHand {
    pub(super) fn new(parallel: usize) -> Self {
        Self { parallel, tasks: JoinSet::new(), runs: HashMap::new(), left_alone: HashMap::new() }
    }

    /// Whether a run of that view may begin. One that waits for its store takes no slot from views of another, and
    /// holds up those of the same, which would only wait beside it.
    pub(super) fn has_room_for(&self, view: &View) -> bool {
        let id = view.id();
        let (waiting, working): (Vec<&Run>, Vec<&Run>) =
            self.runs.values().partition(|run| run.progress.waits_for_store());
        let busy = self.runs.values().any(|run| run.view == id) || self.left_alone.contains_key(&id);
        !busy && working.len() < self.parallel && waiting.iter().all(|run| run.store != view.store)
    }

    pub(super) fn begin(
        &mut self,
        view: &View,
        progress: Arc<Progress>,
        run: impl Future<Output = Ended> + Send + 'static,
    ) {
        let task = self.tasks.spawn(run).id();
        self.runs.insert(task, Run { view: view.id(), store: view.store, progress });
    }

    /// Takes note of runs that have ended.
    pub(super) fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let (task, ended) = match ended {
                Ok((task, ended)) => (task, Ok(ended)),
                Err(error) => (error.id(), Err(error)),
            };
            let Some(Run { view, .. }) = self.runs.remove(&task) else { continue };
            let settled = matches!(&ended, Ok(Ok(report)) if report.outcome != Outcome::Interrupted);
            match ended {
                Ok(Ok(report)) if report.outcome == Outcome::Succeeded => {}
                Ok(Ok(report)) => tracing::error!(job = report.job_id, reason = report.reason, "run not succeeded"),
                Ok(Err(error)) => tracing::warn!(view, %error, "run not finished"),
                Err(error) => tracing::error!(view, %error, "run broke down: this is a mistake of ours"),
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
        let mut in_hand = InHand::new(2);
        let progress: Vec<Arc<Progress>> = (0..2).map(|_| Arc::default()).collect();
        in_hand.begin(&views[2], progress[0].clone(), std::future::pending());
        assert!(!in_hand.has_room_for(&views[2]), "it runs");
        in_hand.begin(&views[0], progress[1].clone(), std::future::pending());
        assert!(!in_hand.has_room_for(&views[1]) && !in_hand.has_room_for(&views[3]), "two work");
        progress[0].wait_for_store("mongodb: away".to_owned());
        assert!(in_hand.has_room_for(&views[1]), "one works");
        assert!(!in_hand.has_room_for(&views[3]), "it would wait too");
        progress[0].wait_for("clickhouse: away".to_owned());
        assert!(!in_hand.has_room_for(&views[1]), "they all need the warehouse");
        progress[0].goes_on();
        assert!(!in_hand.has_room_for(&views[1]));
    }

    #[tokio::test]
    async fn a_run_that_breaks_down_leaves_its_view_alone_for_a_while_and_not_for_ever() {
        let views = views();
        let mut in_hand = InHand::new(1);
        in_hand.begin(&views[0], Arc::default(), async { panic!("a test") });
        while !in_hand.has_room_for(&views[1]) {
            tokio::task::yield_now().await;
            in_hand.collect();
        }
        assert!(!in_hand.has_room_for(&views[0]), "it is left alone");
        in_hand.left_alone.values_mut().for_each(|until| *until = Instant::now());
        in_hand.collect();
        assert!(in_hand.has_room_for(&views[0]));
    }
}
