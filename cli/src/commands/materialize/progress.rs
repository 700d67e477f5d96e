//! How far a run is, for the person who waits: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use millrace_common::jobs::{Job, JobStores, RunProgress};
use millrace_common::log::job;
use millrace_core::sql::batch_count;

const REDRAW: Duration = Duration::from_millis(200);
/// One plain line every 5 s.
const REDRAWS_PER_LINE: u32 = 25;
/// How long counting the rows may take. Without a count, the time left is not known.
const COUNTING: Duration = Duration::from_secs(60);

/// Finds out how many rows to expect: as many as the last completed run had, or else a count of the query.
pub async fn expect_rows(stores: &JobStores, job: &Job, progress: &RunProgress) {
    let view = &job.definitions.views[job.view];
    let states = job::states(&stores.log, &[view.id()]).await.unwrap_or_default();
    match (states.first().and_then(|state| state.completed), &view.batch) {
        (Some(completed), _) => progress.expect(completed.rows),
        (None, Some(batch)) => {
            let count = batch_count(&batch.query, job.as_of);
            progress.expect(stores.clickhouse.batch_count(&count, COUNTING).await.unwrap_or(0));
        }
        (None, None) => {}
    }
}

/// Shows progress again and again. Never ends by itself.
pub async fn show(progress: &RunProgress, view: &str) {
    let plain = !std::io::stderr().is_terminal();
    let bar = bar(plain);
    let mut ticks = tokio::time::interval(REDRAW);
    let mut redraws = 0;
    loop {
        ticks.tick().await;
        update(&bar, progress);
        redraws += 1;
        if plain && redraws % REDRAWS_PER_LINE == 0 {
            let total = bar.length().map_or("?".to_owned(), |total| HumanCount(total).to_string());
            let (rows, left) = (HumanCount(bar.position()), HumanDuration(bar.eta()));
            eprintln!("{view}: {rows}/{total} rows, {:.0}/s, {left} left {}", bar.per_sec(), bar.message());
        }
    }
}

fn bar(plain: bool) -> ProgressBar {
    let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} rows  {per_sec}  {eta} left  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn update(bar: &ProgressBar, progress: &RunProgress) {
    let counts = progress.counts();
    if let Some(expected) = progress.expected() {
        bar.set_length(expected.max(counts.rows));
    }
    bar.set_position(counts.rows);
    let waiting = progress.waiting_for().map(|what| format!("waiting for {what}")).unwrap_or_default();
    bar.set_message(match counts.failed {
        0 => waiting,
        failed => format!("{failed} failed  {waiting}"),
    });
}
