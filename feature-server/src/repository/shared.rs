//! What several requests have in common: a view, or a hash in Redis, is asked for once however many of them want it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use millrace_core::key::KeyText;

use super::{Request, ViewPlan};

/// Exact fields of hashes in Redis, none asked for twice by two requests.
pub struct HashReads<'r> {
    reads: Vec<(String, Cow<'r, [String]>)>,
    /// For each hash, where the fields of its views begin.
    views: Vec<Vec<(usize, usize)>>,
    /// For each request and each of its keys.
    places: Vec<Vec<Place>>,
}

/// Where a key's fields are.
struct Place {
    hash: usize,
    /// Where the fields of the plan's views begin; none: as in the plan.
    starts: Option<Vec<usize>>,
}

impl<'r> HashReads<'r> {
    /// What the requests want of Redis.
    pub fn new(requests: &'r [Request]) -> Self {
        let mut this = Self { reads: Vec::new(), views: Vec::new(), places: Vec::with_capacity(requests.len()) };
        if let [request] = requests {
            this.add_all(request);
            return this;
        }
        let mut known: HashMap<(usize, &KeyText), usize> = HashMap::new();
        for request in requests {
            let mut places = Vec::with_capacity(request.keys.len());
            for key in request.keys.iter().filter(|_| !request.plan.redis.is_empty()) {
                let hash = *known.entry((request.plan.entity, key)).or_insert_with(|| {
                    this.reads.push((request.plan.redis_read(key).0, Cow::Owned(Vec::new())));
                    this.views.push(Vec::new());
                    this.reads.len() - 1
                });
                let fields = request.plan.redis_read(key).1;
                let starts = request.plan.redis.iter().map(|part| this.start(hash, part, fields)).collect();
                places.push(Place { hash, starts: Some(starts) });
            }
            this.places.push(places);
        }
        this
    }

    /// One request alone shares nothing.
    fn add_all(&mut self, request: &'r Request) {
        if !request.plan.redis.is_empty() {
            let read = |key| {
                let (hash, fields) = request.plan.redis_read(key);
                (hash, Cow::Borrowed(fields))
            };
            self.reads = request.keys.iter().map(read).collect();
        }
        self.places.push((0..self.reads.len()).map(|hash| Place { hash, starts: None }).collect());
    }

    /// Where a view's fields begin in a hash's, added if they are new.
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

    /// Which of the fields read, of which hash, are the slots of the `part`th view of a request's `key`th key.
    pub fn slots(&self, request: usize, key: usize, part: (usize, &ViewPlan)) -> (usize, Range<usize>) {
        let place = &self.places[request][key];
        let (number, part) = part;
        let start = place.starts.as_ref().map_or(part.fields.start, |starts| starts[number]);
        (place.hash, start..start + part.fields.len())
    }
}

/// One view, with the keys of all requests one after the other, and all features that any of them wants.
pub struct ViewRead<'r> {
    /// The first request that wants it.
    pub request: &'r Request,
    /// Its place in that request's plan.
    pub part: &'r ViewPlan,
    /// The instant of all of them, where they share it.
    pub as_of: Option<i64>,
    /// Whether any of them names an instant.
    pub at_instant: bool,
    /// Whose.
    pub keys: Vec<KeyText>,
    /// Which; indices into the view's, in ascending order.
    pub features: Vec<usize>,
}

/// Where a request finds its part of a view: in which read, and from which key on.
pub type Share = (usize, usize);

/// The reads of some views of the requests' plans, and for each request and view its share. Requests share a read where
/// `same` says the same of them.
pub fn views<'r>(
    requests: &'r [Request],
    views: impl Fn(&'r Request) -> &'r [ViewPlan],
    same: impl Fn(&Request) -> Option<i64>,
) -> (Vec<ViewRead<'r>>, Vec<Vec<Share>>) {
    let mut reads: Vec<ViewRead<'r>> = Vec::new();
    let mut share = |request: &'r Request, part: &'r ViewPlan| {
        let as_of = same(request);
        let known = reads.iter().position(|read| read.part.view == part.view && read.as_of == as_of);
        let at = known.unwrap_or_else(|| {
            let (keys, features) = (Vec::new(), Vec::new());
            reads.push(ViewRead { request, part, as_of, at_instant: false, keys, features });
            reads.len() - 1
        });
        let read = &mut reads[at];
        read.at_instant |= request.as_of.is_some();
        let start = read.keys.len();
        read.keys.extend_from_slice(&request.keys);
        let new = part.wanted.features().iter().filter(|feature| !read.features.contains(feature));
        let new: Vec<usize> = new.copied().collect();
        read.features.extend(new);
        (at, start)
    };
    let shares = requests.iter().map(|request| views(request).iter().map(|part| share(request, part)).collect());
    let shares = shares.collect();
    reads.iter_mut().for_each(|read| read.features.sort_unstable());
    (reads, shares)
}
