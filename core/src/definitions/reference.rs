//! `name@version`: how definitions, requests and people name one version of a view or a service.

use std::fmt;

/// A name, perhaps with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionedName<'a> {
    /// The name alone.
    pub name: &'a str,
    /// The version; None where a bare name was written.
    pub version: Option<u32>,
}

impl<'a> VersionedName<'a> {
    /// A name with its version.
    pub fn new(name: &'a str, version: u32) -> Self {
        Self { name, version: Some(version) }
    }

    /// Reads `name` or `name@version`. Returns None when the version is not a number.
    pub fn parse(text: &'a str) -> Option<Self> {
        match text.split_once('@') {
            None => Some(Self { name: text, version: None }),
            Some((name, version)) => Some(Self { name, version: Some(version.parse().ok()?) }),
        }
    }

    /// The version; a bare name means version 1.
    pub fn version_or_first(self) -> u32 {
        self.version.unwrap_or(1)
    }
}

impl fmt::Display for VersionedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            None => f.write_str(self.name),
            Some(version) => write!(f, "{}@{version}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_with_and_without_a_version() {
        for text in ["fraud", "fraud@2"] {
            assert_eq!(VersionedName::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(VersionedName::parse("fraud@2"), Some(VersionedName::new("fraud", 2)));
        assert_eq!(VersionedName::parse("fraud").unwrap().version_or_first(), 1);
        for text in ["fraud@", "fraud@v2", "fraud@2@3", "fraud@-1"] {
            assert_eq!(VersionedName::parse(text), None, "{text}");
        }
    }
}
