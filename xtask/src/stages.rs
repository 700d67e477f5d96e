//! How long each stage of a long task took, as a table for its end.

use std::fmt;
use std::time::{Duration, Instant};

/// The stages so far. The last one runs until the next begins, or [`Stages::end`] is called.
#[derive(Default)]
pub struct Stages {
    finished: Vec<(String, Duration)>,
    running: Option<(String, Instant)>,
}

impl Stages {
    /// Ends the running stage and begins the next.
    pub fn begin(&mut self, name: impl Into<String>) {
        self.end();
        self.running = Some((name.into(), Instant::now()));
    }

    /// Ends the running stage. A stage that ran before under the same name has the sum.
    pub fn end(&mut self) {
        let Some((name, started)) = self.running.take() else { return };
        match self.finished.iter_mut().find(|(known, _)| *known == name) {
            Some((_, duration)) => *duration += started.elapsed(),
            None => self.finished.push((name, started.elapsed())),
        }
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.finished.iter().map(|(_, duration)| *duration).sum();
        let rows = self.finished.iter().map(|(name, duration)| (name.as_str(), *duration));
        let minutes = |duration: Duration| duration.as_secs_f64() / 60.0;
        writeln!(f, "{:<40} {:>8}", "stage", "minutes")?;
        for (name, duration) in rows.chain([("together", total)]) {
            writeln!(f, "{name:<40} {:>8.2}", minutes(duration))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_stage_once_and_the_sum() {
        let mut stages = Stages::default();
        for name in ["build", "tests", "build"] {
            stages.begin(name);
        }
        stages.end();
        let table = stages.to_string();
        let names: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["stage", "build", "tests", "together"]);
    }
}
