//! Decides which changes from one version of the definitions to the next are allowed. Stored state was folded under the
//! earlier versions, so its meaning must not change: a changed view gets a new version. A removed view does not come back
//! under its old version, even unchanged, because its state lacks the entries of the time between. A removed entity, event
//! or service can come back; the rules compare it with all earlier versions.

use std::fmt::Write as _;

use super::event_type::EventType;
use super::model::Definitions;
use super::reference::VersionedName;
use super::view::{InputSource, View};

impl Definitions {
    /// Compares `self` with all earlier versions, the oldest first, and returns a sentence for each change that is not
    /// allowed, with its remedy. If the list is empty, `self` can follow them.
    pub fn conflicts_with(&self, earlier: &[&Definitions]) -> Vec<String> {
        let mut conflicts = Vec::new();
        for (back, old) in earlier.iter().rev().enumerate() {
            self.entity_conflicts(old, &mut conflicts);
            self.event_conflicts(old, &mut conflicts);
            self.view_conflicts(old, &mut conflicts);
            self.service_conflicts(old, &mut conflicts);
            if back > 0 {
                self.returned_views(old, earlier[earlier.len() - 1], &mut conflicts);
            }
        }
        conflicts.sort();
        conflicts.dedup();
        conflicts
    }

    fn entity_conflicts(&self, old: &Definitions, conflicts: &mut Vec<String>) {
        for entity in &old.entities {
            if self.entity(&entity.name).is_some_and(|(_, new)| new.key != entity.key) {
                conflicts.push(format!("entity `{}`: its key cannot change; name a new entity", entity.name));
            }
        }
    }

    fn event_conflicts(&self, old: &Definitions, conflicts: &mut Vec<String>) {
        for event in &old.events {
            let Some((_, new)) = self.event(&event.name) else { continue };
            let before = entity_names(old, event);
            if !entity_names(self, new).starts_with(&before) {
                let reason = "its entities can only be added to, after those it has; name a new event";
                conflicts.push(format!("event `{}`: {reason}", event.name));
            }
        }
    }

    fn view_conflicts(&self, old: &Definitions, conflicts: &mut Vec<String>) {
        for view in &old.views {
            let Some((_, new)) = self.view(&view.name, Some(view.version)) else { continue };
            if self.meaning(new) != old.meaning(view) {
                let next = view.version + 1;
                conflicts.push(format!("view `{}` has changed; give it `version: {next}`", view.id()));
            }
        }
    }

    fn returned_views(&self, older: &Definitions, last: &Definitions, conflicts: &mut Vec<String>) {
        for view in &older.views {
            let gone = last.view(&view.name, Some(view.version)).is_none();
            if gone && self.view(&view.name, Some(view.version)).is_some() {
                let reason = "was removed and would lack what came meanwhile; give it a new version";
                conflicts.push(format!("view `{}` {reason}", view.id()));
            }
        }
    }

    fn service_conflicts(&self, old: &Definitions, conflicts: &mut Vec<String>) {
        for service in &old.services {
            for (number, version) in &service.versions {
                let name = VersionedName::new(&service.name, *number).to_string();
                let Some(new) = self.service(&name) else { continue };
                let names = |definitions: &Definitions, features: &[(usize, usize)]| -> Vec<String> {
                    features.iter().map(|(view, feature)| definitions.views[*view].reference(*feature)).collect()
                };
                if names(self, &new.features) != names(old, &version.features) {
                    conflicts.push(format!("service `{name}` is read by models; add v{} instead", number + 1));
                }
            }
        }
    }

    /// A text of everything about a view that its stored state depends on. Two versions of a view with the same text mean the
    /// same. The text holds names, because an index may stand for another thing in another version. Descriptions, defaults,
    /// `ttl`, `cache`, `index` and the schedule are not in it, so they may change.
    fn meaning(&self, view: &View) -> String {
        let mut text = format!("{} {:?} from", self.entities[view.entity].name, view.store);
        for event in &view.from {
            // Writing to a String cannot fail.
            let _ = write!(text, " {}", self.events[*event].name);
        }
        if let Some(batch) = &view.batch {
            let _ = write!(text, "\nquery {}", batch.query);
        }
        for feature in &view.features {
            let input = feature.input.map(|input| {
                let (source, kind) = &view.inputs[input];
                match source {
                    InputSource::Key(entity) => format!("key {} {kind}", self.entities[*entity].name),
                    InputSource::Property(path) => format!("{path:?} {kind}"),
                    InputSource::Column(name) => format!("column {name} {kind}"),
                }
            });
            let window = view.windows[feature.window].window;
            let _ = write!(text, "\n{} {:?} {input:?} {window:?}", feature.name, feature.aggregate);
        }
        text
    }
}

fn entity_names<'d>(definitions: &'d Definitions, event: &EventType) -> Vec<&'d str> {
    event.entities.iter().map(|index| definitions.entities[*index].name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::DefinitionsSource;

    const OLD: &str = r#"
entities: { user: { key: user_id, type: int64 } }
events: { click: { partition_by: user } }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: n, agg: count, windows: [1h] }] }
services: { fraud: { v1: ["clicks:n_1h"] } }
"#;

    fn compile(yaml: &str) -> Definitions {
        Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: Default::default() }).unwrap()
    }

    #[test]
    fn a_changed_view_needs_a_new_version() {
        let changed = OLD.replace("[1h]", "[1h, 2h]");
        let conflicts = compile(&changed).conflicts_with(&[&compile(OLD)]);
        assert_eq!(conflicts, ["view `clicks@1` has changed; give it `version: 2`"]);
        let described = OLD.replace("agg: count", "agg: count, description: clicks, default: 0");
        assert!(compile(&described).conflicts_with(&[&compile(OLD)]).is_empty());
    }

    #[test]
    fn a_batch_view_keeps_its_query_and_may_change_its_schedule() {
        const BATCH: &str = r#"
entities: { user: { key: user_id, type: int64 } }
views:
  - { name: orders, entity: user, query: SELECT 1, schedule: { cron: "0 0 * * *" }, features: [{ name: n, type: int64 }] }
"#;
        let old = compile(BATCH);
        assert_eq!(compile(&BATCH.replace("SELECT 1", "SELECT 2")).conflicts_with(&[&old]).len(), 1);
        assert_eq!(compile(&BATCH.replace("int64 }]", "float64 }]")).conflicts_with(&[&old]).len(), 1);
        let moved = BATCH.replace("0 0 * * *", "0 1 * * *").replace("query:", "ttl: 2d, query:");
        assert!(compile(&moved).conflicts_with(&[&old]).is_empty());
    }

    #[test]
    fn a_removed_view_does_not_come_back_as_if_nothing_had_happened() {
        let without = "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }";
        let (old, gone) = (compile(OLD), compile(without));
        assert!(compile(OLD).conflicts_with(&[&old, &gone])[0].contains("was removed"));
        assert!(compile(OLD).conflicts_with(&[&gone, &old]).is_empty());
    }

    #[test]
    fn a_key_and_a_service_version_are_for_ever() {
        let old = compile(OLD);
        let key = compile(&OLD.replace("type: int64", "type: string"));
        assert!(key.conflicts_with(&[&old])[0].contains("its key cannot change"));
        let service = compile(&OLD.replace("\"clicks:n_1h\"", "\"clicks:n_1h\", \"clicks:n_1h\""));
        assert!(service.conflicts_with(&[&old])[0].contains("add v2"));
    }
}
