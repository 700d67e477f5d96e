//! Services: named lists of features of one entity.

use std::collections::BTreeMap;

use serde_saphyr::Spanned;

use super::Checker;
use crate::definitions::reference::VersionedName;
use crate::definitions::service::{Service, ServiceVersion};
use crate::definitions::source::File;
use crate::definitions::view::View;

impl Checker {
    pub(super) fn services(&mut self, file: &File, views: &[View]) -> Vec<Service> {
        let mut services = Vec::new();
        for (name, spanned) in &file.services {
            let line = spanned.referenced.line();
            self.name(line, "service", name);
            let mut versions = BTreeMap::new();
            for (label, references) in &spanned.value {
                // `v01` and `v+1` are numbers as well: two labels would name one version.
                let number = label.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
                let Some(number) = number.filter(|number| *number > 0 && *label == format!("v{number}")) else {
                    self.error(line, format!("service `{name}`: a version is v1, v2, …, not `{label}`"));
                    continue;
                };
                if let Some(version) = self.service_version(line, name, references, views) {
                    versions.insert(number, version);
                }
            }
            services.push(Service { name: name.clone(), versions });
        }
        services
    }

    fn service_version(
        &mut self,
        line: u64,
        name: &str,
        references: &[Spanned<String>],
        views: &[View],
    ) -> Option<ServiceVersion> {
        let mut features = Vec::new();
        for reference in references {
            let at = reference.referenced.line();
            let found = reference.value.split_once(':').and_then(|(view, feature)| {
                let named = VersionedName::parse(view)?;
                let is_named = |view: &View| view.name == named.name && view.version == named.version_or_first();
                let index = views.iter().position(is_named)?;
                Some((index, views[index].feature(feature)?))
            });
            match found {
                Some(feature) => features.push(feature),
                None => self.error(at, format!("service `{name}`: there is no feature `{}`", reference.value)),
            }
        }
        let Some(first) = features.first() else {
            self.error(line, format!("service `{name}` names no feature"));
            return None;
        };
        let entity = views[first.0].entity;
        if features.iter().any(|(view, _)| views[*view].entity != entity) {
            self.error(line, format!("service `{name}`: its features belong to more than one entity"));
        }
        Some(ServiceVersion { entity, features })
    }
}
