//! Checks batch views, which have a query over the warehouse instead of events. Refuses the options that only streamed
//! views have.

use serde_saphyr::Spanned;

use super::Checker;
use super::query::check_query;
use crate::aggregate::{Aggregate, Options};
use crate::definitions::entity::Entity;
use crate::definitions::schedule::Schedule;
use crate::definitions::source::{FeatureSource, ScheduleSource, ViewSource};
use crate::definitions::view::{BatchQuery, Feature, InputSource, Slots, Store, View, WindowSpec};
use crate::definitions::{ValueType, format_duration};
use crate::window::Window;

/// The aggregate of every feature: its state is the last value that a run found.
const AGGREGATE: &str = "last";

/// A daily view with an hour to spare: a job that has stopped cannot serve its values for ever.
const DEFAULT_TTL_MS: i64 = 25 * 3_600_000;
/// The column that says when a row's values were true.
pub const EVENT_TIME: &str = "event_time";

impl Checker {
    pub(super) fn batch_view(
        &mut self,
        line: u64,
        source: &ViewSource,
        query: &str,
        entities: &[Entity],
    ) -> Option<View> {
        let entity = self.find(line, "entity", &source.entity, entities, |e| &e.name)?;
        if !source.from.is_empty() {
            self.error(line, "write `from` (streamed) or `query` (batch), not both");
        }
        if source.lateness.is_some() {
            self.error(line, "`lateness` belongs to streamed views; a query says itself what counts");
        }
        let query = query.trim();
        if let Err(error) = check_query(query) {
            self.error(line, format!("view `{}`: {error}", source.name));
        }
        let store = match source.store.as_deref() {
            None | Some("redis") => Store::Redis,
            Some("mongodb") => Store::MongoDb,
            Some(other) => {
                self.error(line, format!("a batch view is kept in redis or mongodb, not `{other}`"));
                return None;
            }
        };
        let schedule = source.schedule.as_ref().and_then(|schedule| self.schedule(schedule));
        let ttl = match &source.ttl {
            Some(text) => self.duration(line, "ttl", text)?,
            None => DEFAULT_TTL_MS,
        };
        let pause = schedule.as_ref().map_or(0, Schedule::longest_pause);
        if pause > ttl {
            let (ttl, pause) = (format_duration(ttl), format_duration(pause));
            self.error(
                line,
                format!("ttl {ttl} ends before the next run may come, after {pause}; write a longer `ttl`"),
            );
        }
        let mut view = View {
            name: source.name.clone(),
            version: source.version.unwrap_or(1),
            entity,
            from: Vec::new(),
            store,
            ttl: Some(ttl),
            cache: self.cache(line, source, store),
            slots: Slots::Batch,
            inputs: Vec::new(),
            windows: vec![WindowSpec { window: Window::Lifetime, features: Vec::new() }],
            features: Vec::new(),
            batch: Some(BatchQuery { query: query.to_owned(), schedule }),
            description: source.description.clone(),
        };
        for feature in &source.features {
            self.batch_feature(feature, &mut view, &entities[entity]);
        }
        Some(view)
    }

    fn schedule(&mut self, spanned: &Spanned<ScheduleSource>) -> Option<Schedule> {
        let zone = spanned.value.time_zone.as_deref().unwrap_or("UTC");
        match Schedule::parse(&spanned.value.cron, zone) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                self.error(spanned.referenced.line(), error.to_string());
                None
            }
        }
    }

    /// A feature is a column of the query.
    fn batch_feature(&mut self, spanned: &Spanned<FeatureSource>, view: &mut View, entity: &Entity) {
        let (line, source) = (spanned.referenced.line(), &spanned.value);
        self.name(line, "feature", &source.name);
        let streamed = [
            ("agg", source.agg.is_some()),
            ("value", source.value.is_some()),
            ("window", source.window.is_some()),
            ("windows", source.windows.is_some()),
        ];
        let written = streamed.iter().filter(|(_, written)| *written).map(|(field, _)| *field);
        for field in written.chain(source.options.keys().map(String::as_str)) {
            self.error(line, format!("`{field}` belongs to streamed views; here a feature is a column of the query"));
        }
        if source.name == EVENT_TIME || entity.key.iter().any(|(field, _)| *field == source.name) {
            self.error(
                line,
                format!("feature `{}` is called like a column that the query returns already", source.name),
            );
        }
        if view.feature(&source.name).is_some() {
            self.error(line, format!("feature `{}` is declared twice in view `{}`", source.name, view.name));
        }
        let Some(kind) = &source.kind else {
            let name = &source.name;
            return self
                .error(line, format!("`type` of `{name}` is missing; write for example int64 or decimal(18,2)"));
        };
        let value_type: ValueType = match kind.parse() {
            Ok(kind) => kind,
            Err(error) => return self.error(line, format!("{error}")),
        };
        let aggregate = match Aggregate::parse(AGGREGATE, Options::new(), Some(&value_type)) {
            Ok(aggregate) => aggregate,
            Err(error) => return self.error(line, format!("`{}`: {error}", source.name)),
        };
        self.index(line, source, view.store, &value_type);
        let default = self.default(line, source, &value_type);
        let index = view.features.len();
        view.inputs.push((InputSource::Column(source.name.clone()), value_type.clone()));
        view.windows[0].features.push(index);
        view.features.push(Feature {
            name: source.name.clone(),
            aggregate,
            input: Some(index),
            value_type,
            window: 0,
            default,
            index: source.index,
            description: source.description.clone(),
        });
    }
}
