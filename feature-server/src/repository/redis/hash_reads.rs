//! Which fields of which hashes in Redis some requests read: a hash, and each view's fields in it, once, even if several
//! requests want them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use millrace_core::key::KeyText;

use crate::repository::plan::ViewPlan;
use crate::repository::request::FeatureRequest;

/// The exact fields of some hashes, and where each request finds its own.
pub struct HashReads<'r> {
    reads: Vec<(String, Cow<'r, [String]>)>,
    /// For each hash, its views and where the fields of each begin.
    views: Vec<Vec<(usize, usize)>>,
    /// For each request, and each of its keys, where its fields are.
    places: Vec<Vec<KeyPlace>>,
}

/// Where the fields of a key are.
struct KeyPlace {
    hash: usize,
    /// Where the fields of each of the plan's views begin. None where they stand as in the plan.
    starts: Option<Vec<usize>>,
}

impl<'r> HashReads<'r> {
    /// The fields that the requests want.
    pub fn new(requests: &'r [FeatureRequest]) -> Self {
        let mut this = Self { reads: Vec::new(), views: Vec::new(), places: Vec::with_capacity(requests.len()) };
        if let [request] = requests {
            this.add_alone(request);
            return this;
        }
        let mut known: HashMap<(usize, &KeyText), usize> = HashMap::new();
        requests.iter().for_each(|request| this.add(request, &mut known));
        this
    }

    /// Adds a request to those that were added before. `known` has the hashes by entity and key.
    fn add(&mut self, request: &'r FeatureRequest, known: &mut HashMap<(usize, &'r KeyText), usize>) {
        let plan = &request.plan;
        let mut places = Vec::with_capacity(request.keys.len());
        for key in request.keys.iter().filter(|_| !plan.redis.is_empty()) {
            let (name, fields) = plan.redis_read(key);
            let hash = *known.entry((plan.entity, key)).or_insert_with(|| self.add_hash(name));
            let starts = plan.redis.iter().map(|part| self.start(hash, part, fields)).collect();
            places.push(KeyPlace { hash, starts: Some(starts) });
        }
        self.places.push(places);
    }

    fn add_hash(&mut self, name: String) -> usize {
        self.reads.push((name, Cow::Owned(Vec::new())));
        self.views.push(Vec::new());
        self.reads.len() - 1
    }

    /// Adds a single request, which shares nothing.
    fn add_alone(&mut self, request: &'r FeatureRequest) {
        if !request.plan.redis.is_empty() {
            let read = |key| {
                let (hash, fields) = request.plan.redis_read(key);
                (hash, Cow::Borrowed(fields))
            };
            self.reads = request.keys.iter().map(read).collect();
        }
        self.places.push((0..self.reads.len()).map(|hash| KeyPlace { hash, starts: None }).collect());
    }

    /// Where the fields of a view begin among those of a hash. Adds them if they are new.
    fn start(&mut self, hash: usize, part: &ViewPlan, fields: &[String]) -> usize {
        if let Some((_, start)) = self.views[hash].iter().find(|(view, _)| *view == part.view) {
            return *start;
        }
        let known = self.reads[hash].1.to_mut();
        let start = known.len();
        known.extend_from_slice(&fields[part.fields.clone()]);
        self.views[hash].push((part.view, start));
        start
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// The hashes and their fields.
    pub fn reads(&self) -> &[(String, Cow<'r, [String]>)] {
        &self.reads
    }

    /// The hash, and the range of its fields, that hold the slots of one view of the plan for a request's `key`th key.
    pub fn slots(&self, request: usize, key: usize, part: (usize, &ViewPlan)) -> (usize, Range<usize>) {
        let place = &self.places[request][key];
        let (number, part) = part;
        let start = place.starts.as_ref().map_or(part.fields.start, |starts| starts[number]);
        (place.hash, start..start + part.fields.len())
    }
}
