//! The names of all keys and groups in Redis. Each begins with the namespace. The keys of one partition share a hash tag, so
//! that a Redis Cluster keeps them together. No other file spells a key.

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

    /// The prefix of all names.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Hash: the properties of the log (partitions, key hash, duplicate horizon, format).
    pub fn log(&self) -> String {
        format!("{}:log", self.namespace)
    }

    /// Stream: the entries of a partition.
    pub fn events(&self, partition: Partition) -> String {
        self.of_partition("events", partition)
    }

    /// Hash: the lease and the sinks' positions of a group in a partition.
    pub fn cursor(&self, partition: Partition, group: Group) -> String {
        format!("{}:cursor:{{{partition}}}:{group}", self.namespace)
    }

    /// Stream: the dead letters of a partition.
    pub fn dead(&self, partition: Partition) -> String {
        self.of_partition("dead", partition)
    }

    /// Hash: the versions in force in a partition, each with the position from which it is; never trimmed.
    pub fn versions(&self, partition: Partition) -> String {
        self.of_partition("versions", partition)
    }

    /// Hash: the latest version of the definitions.
    pub fn definitions(&self) -> String {
        format!("{}:definitions", self.namespace)
    }

    /// String: one version of the definitions, as JSON; written once.
    pub fn definitions_version(&self, version: u32) -> String {
        format!("{}:definitions:{version}", self.namespace)
    }

    /// Sorted set: a group's workers, by the time at which their heartbeat runs out.
    pub fn workers(&self, group: Group) -> String {
        format!("{}:workers:{group}", self.namespace)
    }

    /// Hash: the lease and the state of a batch view's job, by `view@version`.
    pub fn job(&self, view: &str) -> String {
        format!("{}:job:{{{view}}}", self.namespace)
    }

    /// Stream: the records of a job's runs.
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

    /// The name of a consumer group in the streams.
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
    fn the_keys_of_a_partition_share_its_hash_tag() {
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
    fn the_keys_of_an_installation_are_named_as_ever() {
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
