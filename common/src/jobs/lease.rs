//! The lease of a run or of the scheduler, renewed beside the work. It only keeps two from working at once: what is
//! written is fenced by the run's number, so a lease that ran out while Redis was away is simply renewed.

use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::LEASE;
use crate::log::job::{self, Taken};
use crate::log::{Log, LogError, Token};

/// A lease that is ours until it is lost or given back.
pub(super) struct Lease {
    log: Log,
    key: String,
    pub(super) token: Token,
    /// Cancelled when another has taken it.
    pub(super) lost: CancellationToken,
    _renewing: DropGuard,
}

/// Who has a lease that was asked for.
pub(super) struct Held {
    pub(super) owner: String,
    pub(super) left: Duration,
}

impl Lease {
    /// Takes the lease of that key, or says who has it.
    pub(super) async fn take(log: &Log, key: String, owner: &str) -> Result<Result<Self, Held>, LogError> {
        let token = match job::take(log, &key, owner, LEASE).await? {
            Taken::Ours(token) => token,
            Taken::Held { owner, left } => return Ok(Err(Held { owner, left })),
        };
        let (lost, done) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(renew(log.clone(), key.clone(), token.clone(), lost.clone(), done.clone()));
        Ok(Ok(Self { log: log.clone(), key, token, lost, _renewing: done.drop_guard() }))
    }

    /// Gives it back; where that fails, it runs out.
    pub(super) async fn give_back(self) {
        if let Err(error) = job::give_back(&self.log, &self.key, &self.token).await {
            tracing::debug!(key = self.key, %error, "lease not given back");
        }
    }
}

async fn renew(log: Log, key: String, token: Token, lost: CancellationToken, done: CancellationToken) {
    let mut every = tokio::time::interval(LEASE / 5);
    while done.run_until_cancelled(every.tick()).await.is_some() {
        match job::renew(&log, &key, &token, LEASE).await {
            Ok(true) => {}
            Ok(false) => return lost.cancel(),
            Err(error) => tracing::debug!(key, %error, "lease not renewed"),
        }
    }
}
