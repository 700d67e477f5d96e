//! The last completed run of each batch view. Values of older runs do not count.

use std::collections::HashMap;

use millrace_core::definitions::View;

/// The number of the last completed run of each batch view, by `view@version`.
#[derive(Default)]
pub struct CompletedRuns(HashMap<String, u32>);

impl CompletedRuns {
    /// Runs by `view@version`.
    pub fn new(runs: HashMap<String, u32>) -> Self {
        Self(runs)
    }

    /// The run from which on the values of a batch view count, 0 before the first has completed. None for other views.
    pub fn of(&self, view: &View) -> Option<u32> {
        view.batch.as_ref()?;
        Some(self.0.get(&view.id()).copied().unwrap_or(0))
    }
}
