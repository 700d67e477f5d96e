//! A lease on one key of the log's Redis: a partition of a group, a job, or the scheduler. Owner and epoch together are
//! its token; every call that changes something under the lease shows the token, and Redis refuses an old one. The
//! work under a lease is left to the callers.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::{LogError, unexpected};
use super::{Log, functions, value};

/// A lease is renewed this many times in its time to live.
const RENEWALS: u32 = 5;

/// The right to act under a lease: both parts together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseToken {
    /// The process that has it.
    pub owner: String,
    /// Grows by one each time that the lease is acquired, for ever.
    pub epoch: u64,
}

/// The answer to a request for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquisition<T> {
    /// It was free, had run out, or was this owner's from before a restart.
    Acquired(T),
    /// Another process has it.
    Held(LeaseHolder),
}

/// A lease as Redis grants it to one call. [`Lease`] renews it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The right to act under the lease.
    pub token: LeaseToken,
    /// When it runs out, counted from before the call: earlier than in Redis.
    pub expires: Instant,
}

/// The process that has a lease which another one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Its name.
    pub owner: String,
    /// The time until the lease runs out, unless it is renewed.
    pub left: Duration,
}

/// The fate of a lease that could not be renewed in time because Redis was unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExpiry {
    /// It counts as lost.
    Lost,
    /// It is renewed when Redis is back, unless another process has taken it. For work that its epoch fences.
    Renewed,
}

/// A lease that this process has. A task renews it until it is lost, released or dropped.
pub struct Lease {
    log: Log,
    key: String,
    token: LeaseToken,
    expires: Arc<Mutex<Instant>>,
    lost: CancellationToken,
    stop: CancellationToken,
    renewing: Mutex<Option<JoinHandle<()>>>,
    _stop_on_drop: DropGuard,
}

impl Lease {
    /// Acquires the lease of `key` for `ttl` and keeps renewing it, or names the process that has it.
    pub async fn acquire(
        log: &Log,
        key: String,
        owner: &str,
        ttl: Duration,
        on_expiry: OnExpiry,
    ) -> Result<Acquisition<Self>, LogError> {
        match acquire(log, &key, owner, ttl).await? {
            Acquisition::Acquired(grant) => Ok(Acquisition::Acquired(Self::start(log, key, grant, ttl, on_expiry))),
            Acquisition::Held(holder) => Ok(Acquisition::Held(holder)),
        }
    }

    fn start(log: &Log, key: String, grant: LeaseGrant, ttl: Duration, on_expiry: OnExpiry) -> Self {
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let expires = Arc::new(Mutex::new(grant.expires));
        let renewal = Renewal {
            log: log.clone(),
            key: key.clone(),
            token: grant.token.clone(),
            ttl,
            on_expiry,
            expires: expires.clone(),
            lost: lost.clone(),
        };
        Self {
            log: log.clone(),
            key,
            token: grant.token,
            expires,
            lost,
            renewing: Mutex::new(Some(tokio::spawn(renewal.run(stop.clone())))),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    /// The right to act under it.
    pub fn token(&self) -> &LeaseToken {
        &self.token
    }

    /// Cancelled once the lease is lost.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// The time until it runs out by this process's clock, which started before Redis's.
    pub fn remaining(&self) -> Duration {
        left_until(*self.expires.lock())
    }

    /// Stops renewing and gives the lease back, so that the next owner need not wait. Returns whether it still was this
    /// owner's.
    pub async fn release(&self) -> Result<bool, LogError> {
        self.stop.cancel();
        let renewing = self.renewing.lock().take();
        if let Some(renewing) = renewing {
            let _ = renewing.await;
        }
        release(&self.log, &self.key, &self.token).await
    }
}

/// The task that renews a lease.
struct Renewal {
    log: Log,
    key: String,
    token: LeaseToken,
    ttl: Duration,
    on_expiry: OnExpiry,
    expires: Arc<Mutex<Instant>>,
    lost: CancellationToken,
}

impl Renewal {
    async fn run(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(self.ttl / RENEWALS);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            match renew(&self.log, &self.key, &self.token, self.ttl).await {
                Ok(Some(expires)) => *self.expires.lock() = expires,
                Ok(None) => return self.lost.cancel(),
                Err(error) => {
                    tracing::debug!(key = self.key, %error, "lease not renewed");
                    let expired = left_until(*self.expires.lock()).is_zero();
                    if expired && self.on_expiry == OnExpiry::Lost {
                        return self.lost.cancel();
                    }
                }
            }
        }
    }
}

/// Asks for the lease of `key`, once.
pub async fn acquire(log: &Log, key: &str, owner: &str, ttl: Duration) -> Result<Acquisition<LeaseGrant>, LogError> {
    const DOING: &str = "acquire a lease";
    let before = Instant::now();
    let mut command = functions::call(functions::ACQUIRE, &[key]);
    command.arg(owner).arg(value::millis(ttl));
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    acquisition(reply, owner, before + ttl).ok_or(wrong)
}

/// Renews a lease and returns when it runs out. Returns None where another process has taken it.
pub async fn renew(log: &Log, key: &str, token: &LeaseToken, ttl: Duration) -> Result<Option<Instant>, LogError> {
    let before = Instant::now();
    let mut command = functions::call(functions::RENEW, &[key]);
    command.arg(&token.owner).arg(token.epoch).arg(value::millis(ttl));
    let reply = log.link_ref().query("renew a lease", &command).await?;
    Ok((value::number(&reply) == Some(1)).then_some(before + ttl))
}

/// Gives a lease back. Returns whether it still was this owner's.
pub async fn release(log: &Log, key: &str, token: &LeaseToken) -> Result<bool, LogError> {
    let mut command = functions::call(functions::RELEASE, &[key]);
    command.arg(&token.owner).arg(token.epoch);
    let reply = log.link_ref().query("release a lease", &command).await?;
    Ok(value::number(&reply) == Some(1))
}

/// `{1, epoch, …}` or `{0, owner, ms left}`.
fn acquisition(reply: Value, owner: &str, expires: Instant) -> Option<Acquisition<LeaseGrant>> {
    let mut parts = value::array(reply)?.into_iter();
    let (acquired, second, third) = (value::number(&parts.next()?)?, parts.next()?, parts.next()?);
    match acquired {
        1 => {
            let token = LeaseToken { owner: owner.to_owned(), epoch: value::number(&second)? };
            Some(Acquisition::Acquired(LeaseGrant { token, expires }))
        }
        0 => {
            let (owner, left) = (value::text(second)?, Duration::from_millis(value::number(&third)?));
            Some(Acquisition::Held(LeaseHolder { owner, left }))
        }
        _ => None,
    }
}

fn left_until(expires: Instant) -> Duration {
    expires.saturating_duration_since(Instant::now())
}
