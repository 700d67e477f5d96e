//! The time from an event's POST to the first read that includes it, while all four services work at a constant rate. A
//! watched purchase costs more than any before it, so it is servable when the household's largest purchase costs as much.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use millrace_common::clock::now_ms;
use millrace_common::log::Group;
use millrace_devstack::services::{Service, ServiceKind};

use crate::config::Scale;
use crate::http1::{BlockingHttp, accepted, get, post};
use crate::installation::Installation;
use crate::journey::Purchases;
use crate::latencies::{Latencies, micros};
use crate::load::Pace;
use crate::report::{Aim, Report, Round, Row};
use crate::stores::address;

const RATE: f64 = 2_000.0;
const SENDERS: usize = 16;
const WATCHERS: usize = 16;
/// One event in this many is watched.
const WATCHED: usize = 20;
/// Watched purchases cost more than this, in cents, and each costs more than the one before it.
const EXPENSIVE: u64 = 100_000_000;
const FEATURE: &str = "household_spend:largest_line_lifetime";
/// The pause between two reads for the same event, and so the resolution of the times.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// An event that takes longer counts as lost.
const LIMIT: Duration = Duration::from_secs(10);

/// A watched event, and when it was due.
struct Watch {
    household: usize,
    cents: u64,
    due: Instant,
}

/// Measures on an installation that has state already.
pub async fn run(filled: &Installation<'_>, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut services = Vec::new();
    for kind in ServiceKind::ALL {
        if kind != ServiceKind::OfflineConsumer || scale.groups.contains(&Group::Offline) {
            services.push(filled.start_ready(kind)?);
        }
    }
    let mut row = Row::new("event to servable at 2,000 events/s", "events/s", "", Some(Aim::P99(50.0)));
    let mut first = scale.entries + 1;
    for _ in 0..scale.rounds {
        for (time, kept) in [(scale.warm, false), (scale.measured, true)] {
            let posts = posts(first, time);
            first += posts.len();
            let round = round(&services, posts, time).await?;
            if kept {
                row.ours.push(round);
            }
        }
        row.progress();
    }
    report.add(row);
    services.iter_mut().try_for_each(|service| Ok(service.stop()?))
}

/// An event: its request, and for a watched one the household and the cents to look for.
struct Post {
    request: Vec<u8>,
    watched: Option<(usize, u64)>,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some ten thousand")]
fn posts(first: usize, time: Duration) -> Vec<Post> {
    let count = (RATE * time.as_secs_f64()) as usize + SENDERS;
    let post_of = |(index, purchase): (usize, crate::journey::Purchase)| {
        let watched = index.is_multiple_of(WATCHED).then_some((purchase.household, EXPENSIVE + purchase.number as u64));
        let mut event: serde_json::Value = serde_json::from_str(&purchase.json()).unwrap_or_default();
        // Without a time of its own, the event happens when it arrives.
        event["time"] = serde_json::Value::Null;
        if let Some((_, cents)) = watched {
            event["properties"]["sales_value"] = format!("{}.{:02}", cents / 100, cents % 100).into();
        }
        Post { request: post("/v1/events", "application/json", &event.to_string()), watched }
    };
    Purchases::new(count, first, now_ms()).enumerate().map(post_of).collect()
}

async fn round(services: &[Service], posts: Vec<Post>, time: Duration) -> anyhow::Result<Round> {
    let url = |wanted: ServiceKind| services.iter().find(|service| service.kind() == wanted).map(Service::url);
    let ingest = address(&url(ServiceKind::Ingest).context("no ingest")?)?;
    let server = address(&url(ServiceKind::FeatureServer).context("no feature server")?)?;
    let measure = move || {
        let (watch, watches) = sync_channel(posts.len());
        let watches = Mutex::new(watches);
        let begun = Instant::now();
        let (sent, took) = std::thread::scope(|scope| {
            let watchers: Vec<_> = (0..WATCHERS).map(|_| scope.spawn(|| watch_all(server, &watches))).collect();
            let posts = &posts;
            let sender = |first| {
                let pace = Pace { begun, rate: RATE, first, step: SENDERS, time };
                let watch = watch.clone();
                scope.spawn(move || send(ingest, posts, pace, &watch))
            };
            let senders: Vec<_> = (0..SENDERS).map(sender).collect();
            drop(watch);
            (joined(senders), joined(watchers))
        });
        let sent: u64 = sent?.into_iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = sent as f64 / begun.elapsed().as_secs_f64();
        let took = Latencies::of(took?.concat());
        eprintln!("bench: {sent} events sent, {} watched", took.len());
        Ok(Round::of(rate, Vec::new()).with(&took))
    };
    tokio::task::spawn_blocking(measure).await?
}

fn joined<T>(threads: Vec<std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>>) -> anyhow::Result<Vec<T>> {
    threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
}

fn send(ingest: SocketAddr, posts: &[Post], pace: Pace, watch: &SyncSender<Watch>) -> anyhow::Result<u64> {
    let mut client = BlockingHttp::open(ingest)?;
    let mut sent = 0;
    for (number, due) in pace {
        let Some(post) = posts.get(number) else { break };
        if let Some((household, cents)) = post.watched {
            watch.send(Watch { household, cents, due }).context("no watcher is left")?;
        }
        let (status, body) = client.ask(&post.request)?;
        accepted(status, body)?;
        sent += 1;
    }
    Ok(sent)
}

fn watch_all(server: SocketAddr, watches: &Mutex<Receiver<Watch>>) -> anyhow::Result<Vec<u32>> {
    let mut client = BlockingHttp::open(server)?;
    let mut took = Vec::new();
    loop {
        let next = watches.lock().map_or_else(|poisoned| poisoned.into_inner().recv(), |watches| watches.recv());
        let Ok(watch) = next else { return Ok(took) };
        took.push(micros(look_for(&mut client, &watch)?));
    }
}

fn look_for(client: &mut BlockingHttp, watch: &Watch) -> anyhow::Result<Duration> {
    let Watch { household, cents, due } = watch;
    let request = get(&format!("/v1/features/household/{household}?features={FEATURE}"));
    loop {
        let (status, body) = client.ask(&request)?;
        accepted(status, body)?;
        if largest(body).is_some_and(|largest| largest >= *cents) {
            return Ok(due.elapsed());
        }
        if due.elapsed() > LIMIT {
            let body = String::from_utf8_lossy(body);
            bail!("household {household} has no purchase of {cents} cents after {LIMIT:?}: {body}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The value of an answer with one feature, in cents. Money is text with two decimals.
fn largest(body: &[u8]) -> Option<u64> {
    let (_, rest) = str::from_utf8(body).ok()?.split_once(FEATURE)?;
    let digits = rest.trim_start_matches(['"', ':']).split('"').next()?;
    digits.replace('.', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_purchase_is_read_from_an_answer() {
        let answer = format!(r#"{{"results":[{{"key":7,"values":{{"{FEATURE}":"1000000.05"}}}}]}}"#);
        assert_eq!(largest(answer.as_bytes()), Some(100_000_005));
        assert_eq!(largest(answer.replace("\"1000000.05\"", "null").as_bytes()), None);
    }
}
