//! Single flight: readers of the same values wait for one query. A `Flight` is a reader's end, a `FlightSender` the end
//! of the task that queries the store. Which readers share a flight is decided by the `coalescer`.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_core::finished::{Finished, Found};
use millrace_core::key::KeyText;
use tokio::sync::watch;

/// The answer of a query for each of its keys, or why it has no answer.
pub type QueryOutcome = Result<Arc<HashMap<KeyText, Found<Arc<Finished>>>>, String>;

/// A query as its readers see it.
#[derive(Clone)]
pub struct Flight(watch::Receiver<FlightState>);

/// A query as the task that makes it sees it.
pub struct FlightSender(watch::Sender<FlightState>);

enum FlightState {
    /// Keys may still be added. The store will be asked after now.
    Waiting,
    /// The store has been asked.
    InFlight,
    /// The query has ended.
    Ended(QueryOutcome),
}

impl Flight {
    /// A query that is not made, and why.
    pub fn refused(reason: &str) -> Self {
        Self(watch::channel(FlightState::Ended(Err(reason.to_owned()))).1)
    }

    /// Whether the store has not been asked yet.
    pub fn is_waiting(&self) -> bool {
        matches!(&*self.0.borrow(), FlightState::Waiting)
    }

    /// Whether this is a reader's end of `sender`.
    pub fn is_of(&self, sender: &FlightSender) -> bool {
        self.0.same_channel(&sender.0.subscribe())
    }

    /// The outcome, where the query has ended.
    #[cfg(test)]
    pub fn outcome(&self) -> Option<QueryOutcome> {
        self.0.borrow().outcome().cloned()
    }

    /// Waits until the query has ended.
    pub async fn ended(mut self) -> QueryOutcome {
        let ended = self.0.wait_for(|state| state.outcome().is_some()).await;
        ended.ok().and_then(|state| state.outcome().cloned()).unwrap_or_else(no_answer)
    }
}

impl FlightSender {
    /// A query that has not been made yet.
    pub fn new() -> Self {
        Self(watch::channel(FlightState::Waiting).0)
    }

    /// A reader's end.
    pub fn flight(&self) -> Flight {
        Flight(self.0.subscribe())
    }

    /// The store is asked from now on. No reader waits for this, so none is woken.
    pub fn start(&self) {
        self.0.send_if_modified(|state| {
            *state = FlightState::InFlight;
            false
        });
    }

    /// Tells all readers how the query ended.
    pub fn end(self, outcome: QueryOutcome) {
        self.0.send_replace(FlightState::Ended(outcome));
    }
}

impl FlightState {
    fn outcome(&self) -> Option<&QueryOutcome> {
        match self {
            Self::Ended(outcome) => Some(outcome),
            Self::Waiting | Self::InFlight => None,
        }
    }
}

/// The outcome of a query whose task crashed.
pub fn no_answer<T>() -> Result<T, String> {
    Err("the query ended without an answer".to_owned())
}
