//! The two consumer groups and their sinks. The table is fixed, because a group that nobody reads would hold up trimming for
//! ever.

use std::fmt;

/// A durable cursor over the whole log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Writes feature state and profiles.
    Online,
    /// Writes ClickHouse.
    Offline,
}

/// The sink that copies `dead:{p}` to ClickHouse. Its position is one of that stream, not of the events.
pub const DEAD_LETTERS: &str = "dead_letters";

impl Group {
    /// Both groups.
    pub const ALL: [Self; 2] = [Self::Online, Self::Offline];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    /// All its sinks, each with a position of its own.
    pub const fn sinks(self) -> &'static [&'static str] {
        match self {
            Self::Online => &["redis", "mongodb"],
            Self::Offline => &["clickhouse", DEAD_LETTERS],
        }
    }

    /// The sinks whose position is one of the events. The group is as far as the slowest of them.
    pub fn event_sinks(self) -> impl Iterator<Item = &'static str> {
        self.sinks().iter().copied().filter(|sink| *sink != DEAD_LETTERS)
    }

    /// The event sinks as the function `advance` takes them.
    pub(super) fn event_sinks_text(self) -> String {
        self.event_sinks().collect::<Vec<_>>().join(",")
    }

    /// The other groups, whose positions bound trimming too.
    pub(super) fn others(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |group| *group != self)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
