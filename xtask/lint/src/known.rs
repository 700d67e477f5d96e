//! The findings that the lints let pass for now: `xtask/lint/known.txt`, one line per lint and place with a count. Counts may
//! only fall; the aim is an empty file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};

use crate::Finding;

const FILE: &str = "xtask/lint/known.txt";

/// How many findings each lint may have in each place.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<(String, String), usize>);

impl Known {
    /// Reads the file of a checkout. No file means that nothing is let pass.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        Self::parse(&std::fs::read_to_string(&path).with_context(|| format!("failed to read {FILE}"))?)
    }

    /// Lines like `phrase 12 cli`; those that begin with `#` are for people.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut known = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.splitn(3, ' ');
            let (Some(lint), Some(count), Some(place)) = (words.next(), words.next(), words.next()) else {
                bail!("{FILE}: expected `lint count place`, found `{line}`");
            };
            let count = count.parse().with_context(|| format!("{FILE}: the count of `{line}` is not a number"))?;
            known.insert((lint.to_owned(), place.to_owned()), count);
        }
        Ok(Self(known))
    }

    /// The findings that fail the lint: all of a lint and place that has more than the file lets pass.
    pub fn failing(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let counts = counted(&findings);
        let too_many = |finding: &Finding| {
            let key = (finding.lint.to_owned(), finding.place.clone());
            counts[&key] > self.0.get(&key).copied().unwrap_or(0)
        };
        findings.into_iter().filter(too_many).collect()
    }

    /// Lines of the file whose count is higher than what was found, each with the count to write in its place.
    pub fn outdated(&self, findings: &[Finding]) -> Vec<String> {
        let counts = counted(findings);
        let lower = |(key, known): (&(String, String), &usize)| {
            let found = counts.get(key).copied().unwrap_or(0);
            let (lint, place) = key;
            (found < *known)
                .then(|| format!("{FILE}: `{lint} {known} {place}` is now {found}; lower it or strike it off"))
        };
        self.0.iter().filter_map(lower).collect()
    }
}

fn counted(findings: &[Finding]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry((finding.lint.to_owned(), finding.place.clone())).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(count: usize) -> Vec<Finding> {
        let one = |_| Finding { lint: "phrase", place: "cli".to_owned(), message: String::new() };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_count_may_fall_and_not_rise() {
        let known = Known::parse("# for people\nphrase 2 cli\n").unwrap();
        assert_eq!(known.failing(findings(2)).len(), 0);
        assert_eq!(known.failing(findings(3)).len(), 3, "all are shown: which one is new is not known");
        assert!(known.outdated(&findings(2)).is_empty());
        assert_eq!(known.outdated(&findings(1)).len(), 1);
        assert_eq!(Known::default().failing(findings(1)).len(), 1);
        assert!(Known::parse("phrase two cli").is_err() && Known::parse("phrase 2").is_err());
    }
}
