//! Which reads of views in MongoDB or ClickHouse some requests make: a view once, even if several requests want it.

use millrace_core::key::KeyText;

use super::plan::ViewPlan;
use super::request::FeatureRequest;

/// The read of one view: the keys of all requests one after the other, and all features that any of them wants.
pub struct ViewRead<'r> {
    /// The first request that wants it.
    pub request: &'r FeatureRequest,
    /// The view's part of that request's plan.
    pub part: &'r ViewPlan,
    /// The instant that all the requests share, where the values are computed for an instant.
    pub as_of: Option<i64>,
    /// Whether any of the requests names an instant.
    pub names_instant: bool,
    /// The keys.
    pub keys: Vec<KeyText>,
    /// The features, as indices into the view's, in ascending order.
    pub features: Vec<usize>,
}

/// Where a request finds its part of a view: the index of the read, and of the first of its keys in it.
pub type ReadShare = (usize, usize);

/// The reads of some views of the requests' plans, and the shares of each request. Requests share the read of a view
/// where `instant` is the same for them.
pub fn view_reads<'r>(
    requests: &'r [FeatureRequest],
    views: impl Fn(&'r FeatureRequest) -> &'r [ViewPlan],
    instant: impl Fn(&FeatureRequest) -> Option<i64>,
) -> (Vec<ViewRead<'r>>, Vec<Vec<ReadShare>>) {
    let mut reads: Vec<ViewRead<'r>> = Vec::new();
    let mut shares = Vec::with_capacity(requests.len());
    for request in requests {
        let as_of = instant(request);
        shares.push(views(request).iter().map(|part| add(&mut reads, request, part, as_of)).collect());
    }
    reads.iter_mut().for_each(|read| read.features.sort_unstable());
    (reads, shares)
}

/// Adds a request's part of a view to the read of that view.
fn add<'r>(
    reads: &mut Vec<ViewRead<'r>>,
    request: &'r FeatureRequest,
    part: &'r ViewPlan,
    as_of: Option<i64>,
) -> ReadShare {
    let known = reads.iter().position(|read| read.part.view == part.view && read.as_of == as_of);
    let at = known.unwrap_or_else(|| {
        let (keys, features) = (Vec::new(), Vec::new());
        reads.push(ViewRead { request, part, as_of, names_instant: false, keys, features });
        reads.len() - 1
    });
    let read = &mut reads[at];
    read.names_instant |= request.as_of.is_some();
    let start = read.keys.len();
    read.keys.extend_from_slice(&request.keys);
    let new = part.wanted.features().iter().filter(|feature| !read.features.contains(feature));
    let new: Vec<usize> = new.copied().collect();
    read.features.extend(new);
    (at, start)
}
