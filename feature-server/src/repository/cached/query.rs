//! The query of a view, and the trait of a store that answers it.

use std::sync::Arc;

use millrace_core::definitions::{Definitions, View};
use millrace_core::finished::{Finished, Found};
use millrace_core::key::KeyText;

use crate::repository::time::ReadTime;

/// A store that finishes values itself.
pub trait ViewSource: Send + Sync + 'static {
    /// Reads the wanted features of some keys: one result per key, in order. Ends within the store's own time limit.
    fn read(
        &self,
        query: &ViewQuery,
        keys: &[KeyText],
    ) -> impl Future<Output = Result<Vec<Found<Finished>>, String>> + Send;
}

/// The query of a view. Its keys are passed beside it.
#[derive(Clone)]
pub struct ViewQuery {
    /// The definitions that the indices below refer to.
    pub definitions: Arc<Definitions>,
    /// Index of the view.
    pub view: usize,
    /// Indices of the wanted features, in ascending order. Nothing else leaves the store.
    pub features: Arc<[usize]>,
    /// The instant at which values are read.
    pub at: ReadTime,
    /// Which edition of the values is wanted.
    pub edition: Edition,
    /// Whether a cached value will do.
    pub freshness: Freshness,
}

/// Distinguishes values of the same keys and features that must not stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edition {
    /// The values as they are now.
    Current,
    /// Values that were computed for this instant, epoch ms.
    AsOf(i64),
    /// Values of a batch view, of which only those from this run on count.
    SinceRun(u32),
}

/// Whether a cached value will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// A value that was read a while ago will do, for as long as its view allows.
    Cached,
    /// The store must be asked after now.
    ReadNow,
}

impl ViewQuery {
    /// The view that is asked.
    pub fn view(&self) -> &View {
        &self.definitions.views[self.view]
    }
}
