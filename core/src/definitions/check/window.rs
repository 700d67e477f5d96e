//! Windows as written, and the suffix that each gives to a feature's name.

use super::Checker;
use crate::definitions::format_duration;
use crate::definitions::source::{FeatureSource, WindowSource};
use crate::definitions::view::{Slots, Store, View};
use crate::window::{Cut, Span, Window, default_hop};

impl Checker {
    /// The windows with the suffix that each gives to the name.
    pub(super) fn windows(
        &mut self,
        line: u64,
        source: &FeatureSource,
        lateness: Option<i64>,
        view: &View,
    ) -> Vec<(Window, String)> {
        let (written, suffixed) = match (&source.window, &source.windows) {
            (Some(_), Some(_)) => {
                self.error(line, "write `window` or `windows`, not both");
                return Vec::new();
            }
            (Some(window), None) => (vec![window.clone()], false),
            (None, Some(windows)) if windows.is_empty() => {
                self.error(line, "`windows` is empty");
                return Vec::new();
            }
            (None, Some(windows)) => (windows.clone(), true),
            (None, None) => return vec![(Window::Lifetime, String::new())],
        };
        let mut windows = Vec::new();
        for window in &written {
            let Some((window, name)) = self.window(line, window, lateness) else { continue };
            if matches!(window, Window::Session { .. }) && (view.slots != Slots::Known || view.store != Store::Redis) {
                self.error(line, "a session needs a redis view of the entity that its events are partitioned by");
            }
            if view.store == Store::MongoDb && window != Window::Lifetime {
                self.error(line, "a mongodb view holds lifetime values only");
            }
            windows.push((window, if suffixed { format!("_{name}") } else { String::new() }));
        }
        windows
    }

    fn window(&mut self, line: u64, source: &WindowSource, lateness: Option<i64>) -> Option<(Window, String)> {
        let long = match source {
            WindowSource::Short(name) if name == "lifetime" => return Some((Window::Lifetime, name.clone())),
            WindowSource::Short(text) => {
                let size = self.duration(line, "window", text)?;
                return Some((sliding(size, self.hop(line, size)?), format_duration(size)));
            }
            WindowSource::Long(long) => long,
        };
        match (&long.sliding, &long.tumbling, &long.session) {
            (Some(size), None, None) => {
                let size = self.duration(line, "sliding", size)?;
                let hop = match &long.hop {
                    Some(hop) => self.duration(line, "hop", hop)?,
                    None => self.hop(line, size)?,
                };
                if hop > size || size / hop > 1_000 {
                    self.error(line, "a `hop` is at most the window and at least a thousandth of it");
                }
                Some((sliding(size, hop), format_duration(size)))
            }
            (None, Some(size), None) if long.hop.is_none() => {
                let hop = self.duration(line, "tumbling", size)?;
                let window = Window::Tiled { cut: Cut::Every(hop), span: Span::Tile };
                Some((window, format!("tumbling_{}", format_duration(hop))))
            }
            (None, None, Some(gap)) if long.hop.is_none() => {
                let gap = self.duration(line, "session", gap)?;
                let window = Window::Session { gap, lateness: lateness.unwrap_or(gap) };
                Some((window, format!("session_{}", format_duration(gap))))
            }
            _ => {
                self.error(
                    line,
                    "a window is one of a duration, `lifetime`, {sliding: 7d, hop: 1h}, {tumbling: 1d}, {session: 30m}",
                );
                None
            }
        }
    }

    fn hop(&mut self, line: u64, size: i64) -> Option<i64> {
        let hop = default_hop(size);
        if hop.is_none() {
            self.error(line, "a window past 1000d needs its hop: write {sliding: 2000d, hop: 30d}");
        }
        hop
    }
}

fn sliding(size: i64, hop: i64) -> Window {
    Window::Tiled { cut: Cut::Every(hop), span: Span::Sliding(size) }
}
