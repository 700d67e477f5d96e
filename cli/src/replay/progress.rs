//! Shows how far a replay is: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tally::Tally;

const REDRAW: Duration = Duration::from_millis(200);
/// A line every 5 s.
const REDRAWS_PER_LINE: u32 = 25;

/// Shows a tally.
#[derive(Clone, Debug)]
pub struct ProgressDisplay {
    bar: ProgressBar,
    plain: bool,
}

impl ProgressDisplay {
    /// For a replay of `total` events.
    pub fn new(total: u64) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{bar:30} {human_pos}/{human_len} events  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, plain }
    }

    /// Follows the tally until dropped.
    pub async fn follow(&self, tally: Arc<Tally>) {
        let mut ticks = tokio::time::interval(REDRAW);
        let mut redraws = 0;
        loop {
            ticks.tick().await;
            self.bar.set_position(tally.settled());
            redraws += 1;
            if self.plain && redraws % REDRAWS_PER_LINE == 0 {
                self.line();
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a line above the bar.
    pub fn print(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    fn line(&self) {
        let total = self.bar.length().unwrap_or(0);
        let (done, left) = (HumanCount(self.bar.position()), HumanDuration(self.bar.eta()));
        eprintln!("replay: {done}/{} events, {:.0}/s, {left} left", HumanCount(total), self.bar.per_sec());
    }
}
