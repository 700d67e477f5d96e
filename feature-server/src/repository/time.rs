//! The instant at which a request reads.

/// The instant that a reader named, and the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTime {
    /// The instant that the reader named, epoch ms. None means now.
    pub as_of: Option<i64>,
    /// The clock of this process, epoch ms.
    pub now: i64,
}

impl ReadTime {
    /// The instant at which a view is read. Without `as_of` it is now, or the view's newest event if that is later: the
    /// log's clock may be a little ahead of this one.
    pub fn at(self, newest: Option<i64>) -> i64 {
        self.as_of.unwrap_or_else(|| newest.map_or(self.now, |newest| newest.max(self.now)))
    }
}
