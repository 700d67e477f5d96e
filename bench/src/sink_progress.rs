//! How fast a sink drains the log: its cursors, looked at again and again.

use millrace_common::log::Group;
use millrace_common::log::status::PartitionStatus;

/// How far a sink was at several instants.
#[derive(Clone, Debug)]
pub struct SinkProgress {
    /// Its name.
    pub sink: &'static str,
    done: bool,
    /// Seconds since the begin, and the entries that were done by then.
    seen: Vec<(f64, f64)>,
}

impl SinkProgress {
    /// A sink that has not been looked at.
    pub fn new(sink: &'static str) -> Self {
        Self { sink, done: false, seen: Vec::new() }
    }

    /// Whether it has reached the end of the log.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes in the cursors at this many seconds after the begin.
    #[expect(clippy::cast_precision_loss, reason = "entries of a run")]
    pub fn look(&mut self, group: Group, partitions: &[PartitionStatus], seconds: f64) {
        let cursor = |partition: &PartitionStatus| {
            let of_group = partition.groups.iter().find(|status| status.group == group);
            of_group.and_then(|status| status.sinks.get(self.sink).cloned()).unwrap_or_default()
        };
        let entries: u64 = partitions.iter().map(|partition| cursor(partition).entries_read).sum();
        self.done = partitions.iter().all(|partition| cursor(partition).position >= partition.last);
        self.seen.push((seconds, entries as f64));
    }

    /// Seconds until it reached the end of the log.
    pub fn seconds(&self) -> f64 {
        self.seen.last().map_or(f64::NAN, |(seconds, _)| *seconds)
    }

    /// Entries per second between a tenth and four fifths of the log: without the start of the process, and without the
    /// last batches, which a sink may hold back until they are old. None if the sink took a single step.
    pub fn steady(&self) -> Option<f64> {
        let all = self.seen.last()?.1;
        let past = |part: f64| self.seen.iter().find(|(_, entries)| *entries >= all * part);
        let ((from, first), (to, last)) = (past(0.1)?, past(0.8)?);
        (to > from).then(|| (last - first) / (to - from))
    }
}
