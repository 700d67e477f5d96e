//! The interface that every online store has for its writers: the sinks of the stream and the runs of batch views. They
//! load slots and put them monotonically. How readers get features is left to the feature server.

use millrace_core::definitions::{Definitions, Store, View};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::slot::Slot;

/// Writes the slots of a view. Each writer has a slot of its own for each view and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotWriter {
    /// The sink of one partition of the log.
    Partition(Partition),
    /// The runs of a batch view.
    Batch,
}

/// The view and the key of a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotAddress<'a> {
    /// The view.
    pub view: &'a View,
    /// The entity's key.
    pub key: &'a KeyText,
}

/// A slot that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct SlotPut<'a> {
    /// Its view and key.
    pub address: SlotAddress<'a>,
    /// The state.
    pub slot: &'a Slot,
}

/// The stored bytes of a slot: None where nothing is stored, an error where something else is.
pub type StoredSlot = Result<Option<Vec<u8>>, String>;

/// The outcome of one put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotOutcome {
    /// Stored.
    Written,
    /// The same state is stored already.
    Already,
    /// A newer state is stored; the writer must load it.
    Stale,
    /// The stored value is not a slot, for this reason. It was left as it is; loading it fails too.
    NotASlot(String),
    /// The store will never take this slot, for this reason.
    Refused(String),
}

/// The calls that can succeed after an error of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// The store is unavailable: the same call may succeed later.
    Unavailable,
    /// The store refused the call, because of one of its slots: the others succeed without it.
    Call,
    /// The store refuses all such calls until somebody changes something.
    Lasting,
}

/// A store of slots. Cloning it is cheap and shares its connections.
pub trait OnlineStore: Clone + Send + Sync + 'static {
    /// The views that it holds are declared with this store.
    const STORE: Store;
    /// Its name in cursors, metrics and messages.
    const NAME: &'static str;
    /// Why a call was not done.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Classifies an error by the calls that can succeed after it.
    fn fault(error: &Self::Error) -> StoreFault;

    /// Prepares the store for the first slot of a view. Cheap where that was done before.
    fn prepare(&self, view: &View) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Loads the slots that `writer` has written, in the order asked.
    fn load_slots(
        &self,
        definitions: &Definitions,
        writer: SlotWriter,
        slots: &[SlotAddress<'_>],
    ) -> impl Future<Output = Result<Vec<StoredSlot>, Self::Error>> + Send;

    /// Writes slots monotonically, each of another view or key. Outcomes are in the order of `slots`.
    fn put_slots(
        &self,
        definitions: &Definitions,
        writer: SlotWriter,
        slots: &[SlotPut<'_>],
    ) -> impl Future<Output = Result<Vec<SlotOutcome>, Self::Error>> + Send;
}
