//! Faults spread over a replay, drawn from a seed: services are killed, stores are stopped for a while.

use std::process::Child;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::bail;
use millrace_devstack::services::{Service, ServiceKind};
use millrace_devstack::{Stack, StoreKind};

use crate::demo::DemoArgs;

/// From one fault to the next, on average.
const PACE: Duration = Duration::from_secs(1);

/// A store that is stopped for a while: `mongodb=60`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    store: StoreKind,
    lasts: Duration,
}

impl FromStr for Outage {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (store, seconds) = text.split_once('=').ok_or("write for example mongodb=60")?;
        let store = match store {
            "mongodb" => StoreKind::MongoDb,
            "clickhouse" => StoreKind::ClickHouse,
            _ => return Err("a store is mongodb or clickhouse"),
        };
        let seconds = seconds.parse().map_err(|_| "the seconds must be a whole number")?;
        Ok(Self { store, lasts: Duration::from_secs(seconds) })
    }
}

pub(crate) struct Faults {
    kills: Vec<ServiceKind>,
    outages: Vec<Outage>,
    random: fastrand::Rng,
    next: Instant,
    /// The store that is stopped now, and when it is started again.
    stopped: Option<(StoreKind, Instant)>,
}

impl Faults {
    pub(crate) fn new(args: &DemoArgs) -> Self {
        let mut random = fastrand::Rng::with_seed(args.seed);
        let of_each = |kind| std::iter::repeat_n(kind, args.kill as usize);
        let mut kills: Vec<ServiceKind> = ServiceKind::ALL.into_iter().flat_map(of_each).collect();
        random.shuffle(&mut kills);
        Self { kills, outages: args.outage.clone(), random, next: Instant::now() + PACE, stopped: None }
    }

    /// Makes the faults until the replay has ended. Everything runs again afterwards.
    pub(crate) async fn during(
        mut self,
        replay: &mut Child,
        services: &mut [Service],
        stack: &Stack,
    ) -> anyhow::Result<()> {
        let status = loop {
            if let Some(status) = replay.try_wait()? {
                break status;
            }
            self.step(services, stack).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        self.finish(services, stack).await?;
        if status.success() { Ok(()) } else { bail!("the replay failed: {status}") }
    }

    async fn step(&mut self, services: &mut [Service], stack: &Stack) -> anyhow::Result<()> {
        if let Some((store, _)) = self.stopped.take_if(|(_, until)| Instant::now() >= *until) {
            eprintln!("xtask: {} is started again", store.name());
            stack.store(store).start().await?;
        }
        if Instant::now() < self.next {
            return Ok(());
        }
        // Between half and one and a half of the pace, so that kills fall anywhere in a batch.
        self.next = Instant::now() + PACE.mul_f64(0.5 + self.random.f64());
        if self.stopped.is_none()
            && let Some(Outage { store, lasts }) = self.outages.pop()
        {
            eprintln!("xtask: {} is killed for {} s", store.name(), lasts.as_secs());
            stack.store(store).kill()?;
            self.stopped = Some((store, Instant::now() + lasts));
        }
        if let Some(kind) = self.kills.pop()
            && let Some(service) = services.iter_mut().find(|service| service.kind() == kind)
        {
            eprintln!("xtask: kill -9 {} ({} left)", kind.name(), self.kills.len());
            service.kill()?;
            service.restart()?;
        }
        Ok(())
    }

    async fn finish(&mut self, services: &mut [Service], stack: &Stack) -> anyhow::Result<()> {
        if !self.kills.is_empty() || !self.outages.is_empty() {
            bail!("the replay ended before all faults were made; use a lower --rate");
        }
        if let Some((store, until)) = self.stopped.take() {
            tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
            stack.store(store).start().await?;
        }
        services.iter_mut().try_for_each(|service| Ok(service.wait_ready()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_names_a_store_and_its_seconds() {
        let outage = Outage { store: StoreKind::MongoDb, lasts: Duration::from_secs(60) };
        assert_eq!("mongodb=60".parse(), Ok(outage));
        for wrong in ["mongodb", "redis=1", "clickhouse=soon"] {
            assert!(wrong.parse::<Outage>().is_err(), "{wrong}");
        }
    }
}
