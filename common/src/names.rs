//! How everything in Redis is called: each key and group begins with the namespace, and all that belongs to one
//! partition shares its hash tag, so that a Redis Cluster keeps it together. Nothing else spells a key.

use millrace_core::partition::Partition;

use crate::log::Group;

/// The names of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    namespace: String,
}

impl Names {
    /// Names under that namespace.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into() }
    }

    /// What all names begin with.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Hash: what the log is (partitions, key hash, duplicate horizon, format).
    pub fn log(&self) -> String {
        format!("{}:log", self.namespace)
    }

    /// Stream: the entries of a partition.
    pub fn events(&self, partition: Partition) -> String {
        self.of_partition("events", partition)
    }

    /// Hash: lease and sinks' positions of a group in a partition.
    pub fn cursor(&self, partition: Partition, group: Group) -> String {
        format!("{}:cursor:{{{partition}}}:{group}", self.namespace)
    }

    /// Stream: what a partition's sinks left out, and why.
    pub fn dead(&self, partition: Partition) -> String {
        self.of_partition("dead", partition)
    }

    /// Hash: which definitions are in force in a partition from which position; never trimmed.
    pub fn versions(&self, partition: Partition) -> String {
        self.of_partition("versions", partition)
    }

    /// Hash: the latest number of the definitions.
    pub fn definitions(&self) -> String {
        format!("{}:definitions", self.namespace)
    }

    /// String: the definitions of that number, as JSON; written once.
    pub fn definitions_version(&self, version: u32) -> String {
        format!("{}:definitions:{version}", self.namespace)
    }

    /// Sorted set: a group's workers by when their heartbeat runs out.
    pub fn workers(&self, group: Group) -> String {
        format!("{}:workers:{group}", self.namespace)
    }

    /// Hash: lease and state of a batch view's job, by `view@version`.
    pub fn job(&self, view: &str) -> String {
        format!("{}:job:{{{view}}}", self.namespace)
    }

    /// Stream: what became of a job's runs.
    pub fn job_runs(&self, view: &str) -> String {
        format!("{}:runs", self.job(view))
    }

    /// Hash: the keys that a run could not write, and why.
    pub fn job_failed(&self, view: &str, run: u32) -> String {
        format!("{}:failed:{run}", self.job(view))
    }

    /// Hash: the lease of the scheduler.
    pub fn scheduler(&self) -> String {
        format!("{}:scheduler", self.namespace)
    }

    /// A consumer group's name inside the streams.
    pub fn group(&self, group: Group) -> String {
        format!("{}:{group}", self.namespace)
    }

    /// Hash: the feature slots of one entity. `key` is canonical, so it has no brace of its own.
    pub fn entity(&self, entity: &str, key: &str) -> String {
        format!("{}:f:{{{entity}:{key}}}", self.namespace)
    }

    fn of_partition(&self, what: &str, partition: Partition) -> String {
        format!("{}:{what}:{{{partition}}}", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_partition_shares_its_hash_tag() {
        let names = Names::new("shop");
        let p = Partition(3);
        let keys = [names.events(p), names.cursor(p, Group::Online), names.dead(p), names.versions(p)];
        assert_eq!(keys, ["shop:events:{3}", "shop:cursor:{3}:online", "shop:dead:{3}", "shop:versions:{3}"]);
        assert_eq!(names.group(Group::Offline), "shop:offline");
        assert_eq!(names.entity("household", "7"), "shop:f:{household:7}");
        let jobs = [names.job("orders@1"), names.job_runs("orders@1"), names.job_failed("orders@1", 7)];
        assert_eq!(jobs, ["shop:job:{orders@1}", "shop:job:{orders@1}:runs", "shop:job:{orders@1}:failed:7"]);
        assert_eq!(names.definitions_version(2), "shop:definitions:2");
    }

    #[test]
    fn what_belongs_to_an_installation_is_named_as_ever() {
        let names = Names::new("shop");
        assert_eq!(
            [names.log(), names.definitions(), names.scheduler()],
            ["shop:log", "shop:definitions", "shop:scheduler"]
        );
        let groups = Group::ALL.map(|group| (names.group(group), names.workers(group)));
        assert_eq!(
            groups.map(|(group, workers)| format!("{group} {workers}")),
            ["shop:online shop:workers:online", "shop:offline shop:workers:offline"]
        );
    }
}
