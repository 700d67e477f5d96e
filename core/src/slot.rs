//! The state of one view for one key from one writer: windows of tiles of aggregate states. Absorbing is a pure
//! function of the entries and their order; nothing here knows a clock or a batch.

use crate::aggregate::{Stamp, WrongKind};
use crate::definitions::{View, WindowSpec};
use crate::position::Position;
use crate::scalar::Scalar;
use crate::tile::{Tile, absorb_into_tile, empty_tile, merge_tiles};
use crate::window::{Arrival, Counted, WindowState};

/// Which state a slot's put carries: a repair writes a higher generation, entries a higher position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// 0 as streamed; each repair adds one.
    pub generation: u32,
    /// The last entry absorbed (or left out knowingly): everything at or below it is in the state.
    pub position: Position,
}

/// The state of a view for one key, as one writer has computed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Up to where it has absorbed.
    pub checkpoint: Checkpoint,
    /// The greatest feature time absorbed, epoch ms; None before the first entry.
    pub newest: Option<i64>,
    /// In the order of the view's windows.
    pub windows: Vec<WindowState<Tile>>,
}

/// The fate of an entry in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absorbed {
    /// It counts.
    Counted,
    /// It came too late for the session windows and counts in the others.
    Late,
    /// The slot had it already.
    Already,
}

impl Slot {
    /// A slot that has absorbed nothing.
    pub fn empty(view: &View) -> Self {
        let window = |spec: &WindowSpec| WindowState::empty(spec.window, || empty_tile(view, spec));
        Self { checkpoint: Checkpoint::default(), newest: None, windows: view.windows.iter().map(window).collect() }
    }

    /// Takes one entry in. `inputs` are the view's, in its order; None is null. A slot of another view is an error, after
    /// which the slot must not be used.
    pub fn absorb(
        &mut self,
        view: &View,
        stamp: Stamp<'_>,
        inputs: &[Option<Scalar<'_>>],
    ) -> Result<Absorbed, WrongKind> {
        if stamp.position <= self.checkpoint.position {
            return Ok(Absorbed::Already);
        }
        if self.windows.len() != view.windows.len() {
            return Err(WrongKind);
        }
        let arrival = Arrival { time: stamp.feature_time, newest_before: self.newest };
        let mut fate = Absorbed::Counted;
        for (spec, state) in view.windows.iter().zip(&mut self.windows) {
            let empty = || empty_tile(view, spec);
            let merge = |tile: &mut Tile, other: &Tile| merge_tiles(tile, other, view, spec);
            match state.tile_for(spec.window, arrival, empty, merge)? {
                Counted::In(tile) => absorb_into_tile(tile, view, spec, stamp, inputs)?,
                Counted::Late => fate = Absorbed::Late,
                Counted::Expired => {}
            }
        }
        self.newest = Some(arrival.newest());
        self.checkpoint.position = stamp.position;
        Ok(fate)
    }
}
