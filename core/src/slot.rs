//! The state of one view for one key from one writer: windows of tiles of aggregate states. Absorbing is a pure
//! function of the entries and their order; nothing here knows a clock or a batch.

use crate::aggregate::{Stamp, State};
use crate::definitions::{View, Window, WindowSpec};
use crate::position::Position;
use crate::scalar::Scalar;
use crate::window::floor;

/// Which state a slot's put carries: a repair writes a higher generation, entries a higher position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// 0 as streamed; each repair adds one.
    pub generation: u32,
    /// The last entry absorbed (or left out knowingly): everything at or below it is in the state.
    pub position: Position,
}

/// One state per feature of a window.
pub type Tile = Vec<State>;

/// What a view knows of one key through one writer.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Up to where it has absorbed.
    pub checkpoint: Checkpoint,
    /// The greatest feature time absorbed, epoch ms; none before the first entry.
    pub newest: Option<i64>,
    /// In the order of the view's windows.
    pub windows: Vec<WindowState>,
}

/// The state of one window.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowState {
    /// Of all entries.
    Lifetime(Tile),
    /// Tiles by their start, ascending; empty ones are left out.
    Ring(Vec<(i64, Tile)>),
    /// Sessions by their start, ascending, that an entry in time could still touch.
    Sessions(Vec<Session>),
}

/// A chain of entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Feature time of its first entry.
    pub start: i64,
    /// Feature time of its last entry.
    pub end: i64,
    /// What it has absorbed.
    pub tile: Tile,
}

/// What became of an entry in a slot.
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
        let windows = view
            .windows
            .iter()
            .map(|spec| match spec.window {
                Window::Lifetime => WindowState::Lifetime(empty_tile(view, spec)),
                Window::Sliding { .. } => WindowState::Ring(Vec::new()),
                Window::Session { .. } => WindowState::Sessions(Vec::new()),
            })
            .collect();
        Self { checkpoint: Checkpoint::default(), newest: None, windows }
    }

    /// Takes one entry in. `inputs` are the view's, in its order; none is null.
    pub fn absorb(&mut self, view: &View, stamp: Stamp<'_>, inputs: &[Option<Scalar<'_>>]) -> Absorbed {
        if stamp.position <= self.checkpoint.position {
            return Absorbed::Already;
        }
        let before = self.newest;
        let newest = before.map_or(stamp.feature_time, |newest| newest.max(stamp.feature_time));
        let mut fate = Absorbed::Counted;
        for (spec, state) in view.windows.iter().zip(&mut self.windows) {
            match (spec.window, state) {
                (Window::Sliding { hop, .. }, WindowState::Ring(ring)) => {
                    let oldest = spec.window.start_at(newest);
                    prune(ring, oldest);
                    let start = floor(stamp.feature_time, hop);
                    if start >= oldest {
                        absorb_tile(tile_at(ring, start, view, spec), view, spec, stamp, inputs);
                    }
                }
                (Window::Session { gap, lateness }, WindowState::Sessions(sessions)) => {
                    if before.is_some_and(|before| stamp.feature_time < before.saturating_sub(lateness)) {
                        fate = Absorbed::Late;
                        continue;
                    }
                    let session = session_at(sessions, stamp.feature_time, gap, view, spec);
                    absorb_tile(&mut session.tile, view, spec, stamp, inputs);
                    let reachable = newest.saturating_sub(lateness).saturating_sub(gap);
                    sessions.retain(|session| session.end >= reachable);
                }
                (_, WindowState::Lifetime(tile)) => absorb_tile(tile, view, spec, stamp, inputs),
                // A slot is made or decoded for its view: kinds agree.
                _ => {}
            }
        }
        self.newest = Some(newest);
        self.checkpoint.position = stamp.position;
        fate
    }
}

impl WindowState {
    /// Calls `take` with each tile that counts at `t`.
    pub fn tiles_at<'s>(&'s self, window: Window, t: i64, mut take: impl FnMut(&'s Tile)) {
        match (window, self) {
            (Window::Sliding { .. }, Self::Ring(ring)) => {
                let oldest = window.start_at(t);
                ring.iter().filter(|(start, _)| *start >= oldest).for_each(|(_, tile)| take(tile));
            }
            (Window::Session { gap, .. }, Self::Sessions(sessions)) => {
                sessions
                    .last()
                    .filter(|last| t.saturating_sub(last.end) <= gap)
                    .into_iter()
                    .for_each(|s| take(&s.tile));
            }
            (_, Self::Lifetime(tile)) => take(tile),
            _ => {}
        }
    }
}

/// A tile of identities.
pub fn empty_tile(view: &View, spec: &WindowSpec) -> Tile {
    spec.features
        .iter()
        .map(|index| {
            let feature = &view.features[*index];
            State::identity(feature.aggregation, feature.input.map(|input| &view.inputs[input].1))
        })
        .collect()
}

fn absorb_tile(tile: &mut Tile, view: &View, spec: &WindowSpec, stamp: Stamp<'_>, inputs: &[Option<Scalar<'_>>]) {
    for (state, index) in tile.iter_mut().zip(&spec.features) {
        let feature = &view.features[*index];
        match feature.input {
            None => state.absorb(feature.aggregation, stamp, &Scalar::Bool(true)),
            Some(input) => {
                if let Some(value) = &inputs[input] {
                    state.absorb(feature.aggregation, stamp, value);
                }
            }
        }
    }
}

fn prune(ring: &mut Vec<(i64, Tile)>, oldest: i64) {
    let dead = ring.partition_point(|(start, _)| *start < oldest);
    ring.drain(..dead);
}

fn tile_at<'r>(ring: &'r mut Vec<(i64, Tile)>, start: i64, view: &View, spec: &WindowSpec) -> &'r mut Tile {
    let at = ring.partition_point(|(other, _)| *other < start);
    if ring.get(at).is_none_or(|(other, _)| *other != start) {
        ring.insert(at, (start, empty_tile(view, spec)));
    }
    &mut ring[at].1
}

/// The session that an entry at `time` belongs to, after joining those that it connects.
fn session_at<'r>(
    sessions: &'r mut Vec<Session>,
    time: i64,
    gap: i64,
    view: &View,
    spec: &WindowSpec,
) -> &'r mut Session {
    // Sessions are more than `gap` apart, so at most two neighbours touch [time − gap, time + gap].
    let first = sessions.partition_point(|session| session.end < time.saturating_sub(gap));
    let touching = sessions[first..].iter().take_while(|session| session.start <= time.saturating_add(gap)).count();
    if touching == 0 {
        sessions.insert(first, Session { start: time, end: time, tile: empty_tile(view, spec) });
    }
    if touching == 2 {
        let later = sessions.remove(first + 1);
        let earlier = &mut sessions[first];
        earlier.end = later.end;
        for ((state, other), index) in earlier.tile.iter_mut().zip(&later.tile).zip(&spec.features) {
            state.merge(view.features[*index].aggregation, other);
        }
    }
    let session = &mut sessions[first];
    session.start = session.start.min(time);
    session.end = session.end.max(time);
    session
}
