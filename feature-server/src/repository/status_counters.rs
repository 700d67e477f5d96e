//! Counts the values served of a view, by status.

use metrics::{Counter, counter};
use millrace_core::assemble::{FeatureValue, Status};

/// Every status, in the order of the counters.
const STATUSES: [Status; 5] =
    [Status::Present, Status::NullValue, Status::NotFound, Status::OutsideMaxAge, Status::Error];

/// The counters of one view.
pub struct StatusCounters([Counter; STATUSES.len()]);

impl StatusCounters {
    /// The counters of the view `name@version`.
    pub fn new(view: &str) -> Self {
        let one = |status: Status| counter!("millrace_values_served_total", "view" => view.to_owned(), "status" => status.as_str());
        Self(STATUSES.map(one))
    }

    /// Counts values.
    pub fn count<'v>(&self, values: impl Iterator<Item = &'v FeatureValue>) {
        let mut counts = [0_u64; STATUSES.len()];
        values.for_each(|value| counts[place(value.status)] += 1);
        for (counter, count) in self.0.iter().zip(counts).filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
    }
}

/// The place of a status in [`STATUSES`].
fn place(status: Status) -> usize {
    match status {
        Status::Present => 0,
        Status::NullValue => 1,
        Status::NotFound => 2,
        Status::OutsideMaxAge => 3,
        Status::Error => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_place_of_its_counter() {
        assert_eq!(STATUSES.map(place), [0, 1, 2, 3, 4]);
    }
}
