//! Reads from encoded slots the states that a reader wants. Wanted states are folded straight out of the bytes; all
//! others are stepped over and not checked. The states that are read obey the rules of `decode_for`.

use super::{DecodeError, read_beginning};
use crate::aggregate::AggregateState;
use crate::bytes::Reader;
use crate::definitions::{View, WindowSpec};
use crate::slot::Checkpoint;
use crate::tile::expect_length;

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
    /// The greatest feature time absorbed, epoch ms; None before the first entry.
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
    pub(crate) fn empty_states(&self, view: &View) -> Vec<AggregateState> {
        self.features.iter().map(|index| view.features[*index].aggregate.empty()).collect()
    }
}

impl<'a> EncodedSlot<'a> {
    /// Reads the beginning of a slot of `view`.
    pub fn open(view: &View, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (checkpoint, newest) = read_beginning(&mut reader, view)?;
        Ok(Self { checkpoint, newest, reader })
    }

    /// Merges what counts at `t` into `states`, which stand in the order of `wanted`.
    pub(crate) fn fold(
        mut self,
        view: &View,
        wanted: &Wanted,
        t: i64,
        states: &mut [AggregateState],
    ) -> Result<(), DecodeError> {
        for (spec, places) in view.windows.iter().zip(&wanted.places) {
            spec.window
                .visit(&mut self.reader, t, |reader, counts| fold_tile(reader, view, spec, places, counts, states))?;
        }
        Ok(())
    }
}

/// Merges the wanted states of a tile that counts. `places` says which of `states` each state of the tile is merged into.
fn fold_tile(
    reader: &mut Reader<'_>,
    view: &View,
    spec: &WindowSpec,
    places: &[Option<usize>],
    counts: bool,
    states: &mut [AggregateState],
) -> Result<(), DecodeError> {
    expect_length(reader, places.len())?;
    for (index, place) in spec.features.iter().zip(places) {
        let aggregate = &view.features[*index].aggregate;
        match place {
            Some(place) if counts => aggregate.fold(reader, &mut states[*place])?,
            Some(_) | None => aggregate.skip(reader)?,
        }
    }
    Ok(())
}
