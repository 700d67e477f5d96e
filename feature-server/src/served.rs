//! Everything that follows from one version of the definitions: the catalog, and the plans of the lists of features that
//! requests name. A plan is compiled when it is first asked for, and cached.

use std::sync::Arc;

use bytes::Bytes;
use millrace_common::log::Log;
use millrace_common::names::Names;
use millrace_core::definitions::Definitions;
use quick_cache::sync::Cache;

use crate::catalog;
use crate::error::RequestError;
use crate::parse::{Selection, resolve_names, too_many_features};
use crate::repository::Plan;

/// Cached plans.
const PLANS: usize = 1_000;
/// The longest text that a plan is cached under: a list of a thousand features. Cached plans are bounded in number, so
/// each must be bounded in length.
const LONGEST_TEXT: usize = 64 * 1024;

/// The definitions that are served, and what follows from them.
pub struct ServedDefinitions {
    /// The definitions that are in force in all partitions.
    pub definitions: Arc<Definitions>,
    /// The answer of `GET /v1/catalog`.
    pub catalog: Bytes,
    names: Names,
    partitions: u16,
    max_features: usize,
    plans: Cache<String, Arc<Plan>>,
    named_plans: Cache<Vec<String>, Arc<NamedPlan>>,
}

/// The plan of a list of names, and the place of each name in it. The plan has each feature once.
pub struct NamedPlan {
    /// The plan.
    pub plan: Arc<Plan>,
    /// For each name, the place of its feature in the plan.
    pub places: Vec<usize>,
}

impl ServedDefinitions {
    /// Prepares a version of the definitions. A request may name at most `max_features` features.
    pub fn new(definitions: Arc<Definitions>, version: u32, log: &Log, max_features: usize) -> Self {
        Self {
            catalog: catalog::catalog(&definitions, version).to_string().into(),
            definitions,
            names: log.names().clone(),
            partitions: log.meta().partitions,
            max_features,
            plans: Cache::new(PLANS),
            named_plans: Cache::new(PLANS),
        }
    }

    /// The plan of a selection of an entity's features.
    pub fn plan(&self, entity: usize, selection: Selection<'_>) -> Result<Arc<Plan>, RequestError> {
        let text = selection.cache_key(entity);
        if let Some(plan) = self.plans.get(&text) {
            return Ok(plan);
        }
        let features = selection.resolve(&self.definitions, entity, self.max_features)?;
        let plan = Arc::new(self.compile(entity, &features));
        if text.len() <= LONGEST_TEXT {
            self.plans.insert(text, plan.clone());
        }
        Ok(plan)
    }

    /// The plan of a list of names, which tell the entity.
    pub fn named_plan(&self, names: &[String]) -> Result<Arc<NamedPlan>, RequestError> {
        if let Some(named) = self.named_plans.get(names) {
            return Ok(named);
        }
        if names.len() > self.max_features {
            return Err(too_many_features("feature_names", self.max_features));
        }
        let (entity, features) = resolve_names(&self.definitions, names)?;
        let plan = self.compile(entity, &features);
        let place = |feature| plan.features.iter().position(|other| other == feature);
        let places = features.iter().filter_map(place).collect();
        let named = Arc::new(NamedPlan { places, plan: Arc::new(plan) });
        self.named_plans.insert(names.to_vec(), named.clone());
        Ok(named)
    }

    fn compile(&self, entity: usize, features: &[(usize, usize)]) -> Plan {
        Plan::new(self.definitions.clone(), &self.names, self.partitions, entity, features)
    }
}
