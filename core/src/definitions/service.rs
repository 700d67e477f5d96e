//! Feature services: the named, versioned lists of features that models read.

use std::collections::BTreeMap;

/// A named list of features that a model reads.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its versions, by number.
    pub versions: BTreeMap<u32, ServiceVersion>,
}

/// One version of a service.
#[derive(Debug, PartialEq)]
pub struct ServiceVersion {
    /// Index of the one entity that its features describe.
    pub entity: usize,
    /// (view, feature) indices in declared order.
    pub features: Vec<(usize, usize)>,
}
