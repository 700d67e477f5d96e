//! Links between pages: each relative link of a Markdown page leads to a file or folder that exists, and its `#part` to
//! a heading there. Links to other sites are not followed.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::Finding;
use crate::tree::{Page, Tree};

/// One finding per link that leads nowhere.
pub fn check(tree: &Tree, root: &Path) -> Vec<Finding> {
    findings(tree, |path| root.join(path).exists())
}

fn findings(tree: &Tree, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in &tree.pages {
        for link in links(&page.text) {
            if let Some(missing) = missing(tree, page, link, &exists) {
                let (place, message) = (page.path.display().to_string(), format!("`{link}`: there is no {missing}"));
                findings.push(Finding { lint: "link", place, message });
            }
        }
    }
    findings
}

/// The targets of `[text](target)` outside blocks of code, without links to other sites.
fn links(text: &str) -> Vec<&str> {
    let targets = prose_lines(text).flat_map(|line| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split([')', ' ']).next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

fn prose_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// The file or heading that the link names and that does not exist.
fn missing(tree: &Tree, page: &Page, link: &str, exists: impl Fn(&Path) -> bool) -> Option<String> {
    let (target, heading) = link.split_once('#').map_or((link, None), |(target, heading)| (target, Some(heading)));
    let folder = page.path.parent().unwrap_or(Path::new(""));
    let path = if target.is_empty() { page.path.clone() } else { normal(&folder.join(target)) };
    if !exists(&path) {
        return Some(format!("file {}", path.display()));
    }
    let heading = heading?;
    let other = tree.pages.iter().find(|other| other.path == path)?;
    (!headings(&other.text).contains(heading)).then(|| format!("heading `{heading}` in {}", path.display()))
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::ParentDir => _ = normal.pop(),
            Component::CurDir => {}
            part => normal.push(part),
        }
        normal
    })
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let headings =
        prose_lines(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| -> String {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect()
    };
    headings.map(anchor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> Page {
        Page { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn a_link_leads_to_a_file_and_a_heading() {
        let links = "[b](b.md) [site](https://example.org/x) [part](b.md#what-is-new) [c](../c.md)\n[x](b.md#y)\n```\n[no](no.md)\n```\n";
        let pages = vec![page("docs/a.md", links), page("docs/b.md", "# What is `new`?\n")];
        let tree = Tree { rust: Vec::new(), pages };
        let exists = |path: &Path| path == Path::new("docs/b.md");
        let found: Vec<String> = findings(&tree, exists).into_iter().map(|finding| finding.message).collect();
        assert_eq!(found, ["`../c.md`: there is no file c.md", "`b.md#y`: there is no heading `y` in docs/b.md"]);
    }
}
