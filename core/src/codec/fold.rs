//! Reads of encoded slots what a reader wants and nothing else: wanted states are folded straight out of the bytes,
//! all others are stepped over. What is stepped over is not checked; whatever is read obeys the rules of `decode`.

use super::read::Reader;
use super::{DecodeError, RING, SESSIONS, TOTAL, read_header, read_newest, state};
use crate::aggregate::State;
use crate::definitions::{View, Window, WindowSpec};
use crate::slot::Checkpoint;

/// Which features of a view a reader wants, and where they stand in its tiles: made once, used for every slot.
#[derive(Clone, Debug)]
pub struct Wanted {
    features: Vec<usize>,
    /// For each window up to the last that holds a wanted feature, for each place in its tiles: which of `features`.
    places: Vec<Vec<Option<usize>>>,
}

/// An encoded slot of which the beginning was read.
#[derive(Clone, Debug)]
pub struct EncodedSlot<'a> {
    /// Up to where it has absorbed, or which run wrote it.
    pub checkpoint: Checkpoint,
    /// The greatest feature time absorbed, epoch ms; none before the first entry.
    pub newest: Option<i64>,
    reader: Reader<'a>,
}

impl Wanted {
    /// Those features (indices into the view's, each once), in the order of answers.
    pub fn new(view: &View, features: Vec<usize>) -> Self {
        let place = |index: &usize| features.iter().position(|wanted| wanted == index);
        let of_window = |spec: &WindowSpec| spec.features.iter().map(place).collect::<Vec<_>>();
        let mut places: Vec<_> = view.windows.iter().map(of_window).collect();
        while places.pop_if(|last| last.iter().all(Option::is_none)).is_some() {}
        Self { features, places }
    }

    /// The indices, in the order of answers.
    pub fn features(&self) -> &[usize] {
        &self.features
    }

    /// A state that has absorbed nothing for each.
    pub(crate) fn identities(&self, view: &View) -> Vec<State> {
        let identity = |index: &usize| {
            let feature = &view.features[*index];
            State::identity(feature.aggregation, feature.input.map(|input| &view.inputs[input].1))
        };
        self.features.iter().map(identity).collect()
    }
}

impl<'a> EncodedSlot<'a> {
    /// Reads the beginning of a slot of `view`.
    pub fn open(view: &View, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let checkpoint = read_header(&mut reader)?;
        let newest = read_newest(&mut reader)?;
        if reader.length()? != view.windows.len() {
            return Err(DecodeError::WrongShape(view.id()));
        }
        Ok(Self { checkpoint, newest, reader })
    }

    /// Merges what counts at `t` into `states`, which stand in the order of `wanted`.
    pub(crate) fn fold(
        mut self,
        view: &View,
        wanted: &Wanted,
        t: i64,
        states: &mut [State],
    ) -> Result<(), DecodeError> {
        for (spec, places) in view.windows.iter().zip(&wanted.places) {
            let mut tiles = Tiles { reader: &mut self.reader, view, places, wanted, states };
            tiles.fold_window(spec.window, t)?;
        }
        Ok(())
    }
}

/// The tiles of one window, one after the other.
struct Tiles<'s, 'a> {
    reader: &'s mut Reader<'a>,
    view: &'s View,
    places: &'s [Option<usize>],
    wanted: &'s Wanted,
    states: &'s mut [State],
}

impl Tiles<'_, '_> {
    fn fold_window(&mut self, window: Window, t: i64) -> Result<(), DecodeError> {
        match (self.reader.byte()?, window) {
            (TOTAL, Window::Lifetime) => self.fold_tile(true),
            (RING, Window::Sliding { .. }) => self.fold_ring(window.start_at(t)),
            (SESSIONS, Window::Session { gap, .. }) => self.fold_sessions(gap, t),
            (TOTAL..=SESSIONS, _) => Err(DecodeError::WrongShape(self.view.id())),
            _ => Err(self.reader.invalid("window kind")),
        }
    }

    fn fold_ring(&mut self, oldest: i64) -> Result<(), DecodeError> {
        let count = self.reader.length()?;
        let mut start = self.reader.ring_start()?;
        for _ in 0..count {
            let counts = start.next(self.reader)? >= oldest;
            self.fold_tile(counts)?;
        }
        Ok(())
    }

    /// Only the last session can be open at `t`.
    fn fold_sessions(&mut self, gap: i64, t: i64) -> Result<(), DecodeError> {
        let count = self.reader.length()?;
        for left in (0..count).rev() {
            let start = self.reader.signed64()?;
            let end = start.saturating_add(self.reader.signed64()?);
            self.fold_tile(left == 0 && t.saturating_sub(end) <= gap)?;
        }
        Ok(())
    }

    fn fold_tile(&mut self, counts: bool) -> Result<(), DecodeError> {
        if self.reader.length()? != self.places.len() {
            return Err(DecodeError::WrongShape(self.view.id()));
        }
        for place in self.places {
            match place {
                Some(index) if counts => {
                    let aggregation = self.view.features[self.wanted.features[*index]].aggregation;
                    state::fold_state(self.reader, aggregation, &mut self.states[*index])?;
                }
                _ => state::skip_state(self.reader)?,
            }
        }
        Ok(())
    }
}
