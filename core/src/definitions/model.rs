//! The compiled definitions: names resolved to indices, windows grouped, inputs routed. Immutable once built.

use super::DefinitionsSource;
use super::entity::Entity;
use super::event_type::EventType;
use super::reference::VersionedName;
use super::service::{Service, ServiceVersion};
use super::view::View;

/// Everything that is in force under one version.
#[derive(Debug)]
pub struct Definitions {
    /// The text it was compiled from.
    pub source: DefinitionsSource,
    /// Entities, in the order of their names.
    pub entities: Vec<Entity>,
    /// Event types, in the order of their names.
    pub events: Vec<EventType>,
    /// Feature views, in declared order.
    pub views: Vec<View>,
    /// Services, in the order of their names.
    pub services: Vec<Service>,
}

impl Definitions {
    /// The entity of that name.
    pub fn entity(&self, name: &str) -> Option<(usize, &Entity)> {
        self.entities.iter().enumerate().find(|(_, entity)| entity.name == name)
    }

    /// The event type of that name.
    pub fn event(&self, name: &str) -> Option<(usize, &EventType)> {
        self.events.iter().enumerate().find(|(_, event)| event.name == name)
    }

    /// The view of that name and version; without a version, version 1.
    pub fn view(&self, name: &str, version: Option<u32>) -> Option<(usize, &View)> {
        let version = version.unwrap_or(1);
        self.views.iter().enumerate().find(|(_, view)| view.name == name && view.version == version)
    }

    /// Resolves `view:feature` or `view@2:feature`.
    pub fn feature(&self, reference: &str) -> Option<(usize, usize)> {
        let (view, feature) = reference.split_once(':')?;
        let view = VersionedName::parse(view)?;
        let (index, view) = self.view(view.name, view.version)?;
        Some((index, view.feature(feature)?))
    }

    /// Resolves `fraud` (version 1) or `fraud@2`.
    pub fn service(&self, reference: &str) -> Option<&ServiceVersion> {
        let reference = VersionedName::parse(reference)?;
        let service = self.services.iter().find(|service| service.name == reference.name)?;
        service.versions.get(&reference.version_or_first())
    }
}
