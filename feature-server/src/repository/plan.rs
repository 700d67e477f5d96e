//! A plan says where the features of a list are stored. It is compiled once per list and definitions, so that a request
//! looks nothing up by name.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use millrace_common::names::Names;
use millrace_core::batch;
use millrace_core::codec::Wanted;
use millrace_core::definitions::{Definitions, Entity, Slots, Store, View};
use millrace_core::key::KeyText;
use millrace_core::partition::partition_of;

use super::status_counters::StatusCounters;

/// Which features of one entity, and where they are.
pub struct Plan {
    /// The definitions that the indices refer to.
    pub definitions: Arc<Definitions>,
    /// Index of the entity.
    pub entity: usize,
    /// (view, feature) in the order of answers, each once.
    pub features: Vec<(usize, usize)>,
    /// `view:feature` in the same order.
    pub names: Vec<String>,
    /// Names for flat objects in the same order: the feature's own where no key field and no earlier feature has it,
    /// otherwise `view:feature`.
    pub flat_names: Vec<String>,
    /// Views in Redis.
    pub redis: Vec<ViewPlan>,
    /// Views in MongoDB.
    pub mongodb: Vec<ViewPlan>,
    /// Views that ClickHouse computes.
    pub clickhouse: Vec<ViewPlan>,
    names_in_redis: Names,
    partitions: u16,
    /// Fields to ask for, by the partition that the key hashes to.
    fields: Vec<Vec<String>>,
}

/// The part of one view in a plan.
pub struct ViewPlan {
    /// Index of the view.
    pub view: usize,
    /// The wanted features.
    pub wanted: Wanted,
    /// Where each of them stands in the answer.
    pub places: Vec<usize>,
    /// Which of the key's fields in Redis are the view's slots.
    pub fields: Range<usize>,
    /// Counts the values served of it.
    pub served: StatusCounters,
}

impl Plan {
    /// Compiles a list of (view, feature) indices of one entity. Repeated ones are answered once.
    pub fn new(
        definitions: Arc<Definitions>,
        names: &Names,
        partitions: u16,
        entity: usize,
        features: &[(usize, usize)],
    ) -> Self {
        let mut seen = HashSet::with_capacity(features.len());
        let unique: Vec<(usize, usize)> = features.iter().filter(|feature| seen.insert(**feature)).copied().collect();
        let mut plan = Self {
            names: unique.iter().map(|(view, feature)| definitions.views[*view].reference(*feature)).collect(),
            flat_names: flat_names(&definitions, entity, &unique),
            features: unique,
            redis: Vec::new(),
            mongodb: Vec::new(),
            clickhouse: Vec::new(),
            names_in_redis: names.clone(),
            partitions,
            fields: vec![Vec::new(); usize::from(partitions.max(1))],
            entity,
            definitions,
        };
        for (view, wanted, places) in by_view(&plan.features) {
            let view = ViewPlan::new(&plan.definitions, view, wanted, places);
            match plan.definitions.views[view.view].store {
                Store::Redis => plan.add_redis(view),
                Store::MongoDb => plan.mongodb.push(view),
                Store::ClickHouse => plan.clickhouse.push(view),
            }
        }
        plan
    }

    /// The hash of a key in Redis, and the fields of it that hold the views of this plan.
    pub fn redis_read(&self, key: &KeyText) -> (String, &[String]) {
        let partition = usize::from(partition_of(key.as_str(), self.partitions).0);
        (self.names_in_redis.entity(&self.entity().name, key.as_str()), &self.fields[partition])
    }

    /// The views of a store.
    pub fn views(&self, store: Store) -> &[ViewPlan] {
        match store {
            Store::Redis => &self.redis,
            Store::MongoDb => &self.mongodb,
            Store::ClickHouse => &self.clickhouse,
        }
    }

    /// The entity that its features describe.
    pub fn entity(&self) -> &Entity {
        &self.definitions.entities[self.entity]
    }

    /// The view of a part.
    pub fn view(&self, part: &ViewPlan) -> &View {
        &self.definitions.views[part.view]
    }

    /// Adds the fields of a view in Redis.
    fn add_redis(&mut self, mut plan: ViewPlan) {
        let view = &self.definitions.views[plan.view];
        let id = view.id();
        let partitions = self.fields.len();
        for (partition, fields) in self.fields.iter_mut().enumerate() {
            let start = fields.len();
            match view.slots {
                Slots::Known => fields.push(format!("{id}|{partition}")),
                Slots::All => fields.extend((0..partitions).map(|writer| format!("{id}|{writer}"))),
                Slots::Batch => fields.push(format!("{id}|{}", batch::SLOT)),
            }
            plan.fields = start..fields.len();
        }
        self.redis.push(plan);
    }
}

impl ViewPlan {
    fn new(definitions: &Definitions, index: usize, wanted: Vec<usize>, places: Vec<usize>) -> Self {
        let view = &definitions.views[index];
        let served = StatusCounters::new(&view.id());
        Self { view: index, wanted: Wanted::new(view, wanted), places, fields: 0..0, served }
    }
}

/// For each view, in the order of its first feature: its features, and their places in the list.
fn by_view(features: &[(usize, usize)]) -> Vec<(usize, Vec<usize>, Vec<usize>)> {
    let mut views: Vec<(usize, Vec<usize>, Vec<usize>)> = Vec::new();
    for (place, (view, feature)) in features.iter().enumerate() {
        let at = views.iter().position(|(other, ..)| other == view).unwrap_or_else(|| {
            views.push((*view, Vec::new(), Vec::new()));
            views.len() - 1
        });
        views[at].1.push(*feature);
        views[at].2.push(place);
    }
    views
}

fn flat_names(definitions: &Definitions, entity: usize, features: &[(usize, usize)]) -> Vec<String> {
    let mut taken: HashSet<&str> = definitions.entities[entity].key.iter().map(|(field, _)| field.as_str()).collect();
    let name = |(view, feature): &(usize, usize)| {
        let view = &definitions.views[*view];
        let own = view.features[*feature].name.as_str();
        if taken.insert(own) { own.to_owned() } else { view.reference(*feature) }
    };
    features.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::DefinitionsSource;

    const YAML: &str = r#"
entities:
  user: { key: user_id, type: string }
  item: { key: item_id, type: int64 }
events:
  click: { partition_by: user, entities: [user, item] }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: n, agg: count, windows: [1h, lifetime] }] }
  - { name: clicks, version: 2, entity: user, from: [click], features: [{ name: n, agg: count, windows: [1h] }] }
  - { name: profile, entity: user, store: mongodb, from: [click], features: [{ name: seen, agg: count }, { name: user_id, agg: count }] }
  - { name: popularity, entity: item, from: [click], features: [{ name: n, agg: count }] }
"#;

    fn plan(entity: usize, features: &[(usize, usize)]) -> Plan {
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        let definitions = Arc::new(Definitions::compile(source).unwrap());
        Plan::new(definitions, &Names::new("t"), 4, entity, features)
    }

    #[test]
    fn a_view_of_the_partitioning_entity_is_asked_for_the_one_slot_that_can_exist() {
        // Entities stand in the order of their names: item, user.
        let plan = plan(1, &[(0, 0), (1, 0)]);
        let key = KeyText::from_canonical("ada");
        let partition = partition_of("ada", 4);
        let (hash, fields) = plan.redis_read(&key);
        assert_eq!(hash, "t:f:{user:ada}");
        assert_eq!(fields, [format!("clicks@1|{partition}"), format!("clicks@2|{partition}")]);
        assert_eq!(plan.redis[1].fields, 1..2);
    }

    #[test]
    fn a_view_of_another_entity_is_asked_for_the_slots_of_all_partitions() {
        let plan = plan(0, &[(3, 0)]);
        let fields = plan.redis_read(&KeyText::from_canonical("7")).1;
        assert_eq!(fields, ["popularity@1|0", "popularity@1|1", "popularity@1|2", "popularity@1|3"]);
    }

    #[test]
    fn a_feature_asked_twice_is_answered_once_and_in_its_first_place() {
        let plan = plan(1, &[(2, 0), (0, 1), (2, 0), (0, 0)]);
        assert_eq!(plan.names, ["profile:seen", "clicks:n_lifetime", "clicks:n_1h"]);
        assert_eq!(
            (plan.redis[0].wanted.features(), plan.redis[0].places.as_slice()),
            ([1, 0].as_slice(), [1, 2].as_slice())
        );
        assert_eq!(plan.mongodb[0].places, [0]);
    }

    #[test]
    fn flat_names_stay_as_they_are_when_a_view_is_added() {
        let plan = plan(1, &[(0, 0), (1, 0), (2, 1)]);
        assert_eq!(plan.flat_names, ["n_1h", "clicks@2:n_1h", "profile:user_id"]);
    }
}
