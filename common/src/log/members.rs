//! The workers of a group, and the partitions of each. Workers are alive as long as they send heartbeats. Partitions are divided
//! evenly by rendezvous hashing. Two workers may disagree for a moment; then leases decide.

use std::collections::HashMap;
use std::time::Duration;

use millrace_core::partition::Partition;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::{LogError, unexpected};
use super::group::Group;
use super::{Log, functions, value};

/// Sends a heartbeat that keeps `worker` alive for `ttl`. Returns all workers that are alive, in the order of their names.
pub async fn heartbeat(log: &Log, group: Group, worker: &str, ttl: Duration) -> Result<Vec<String>, LogError> {
    const DOING: &str = "send a heartbeat";
    let mut command = functions::call(functions::HEARTBEAT, &[&log.names().workers(group)]);
    command.arg(worker).arg(value::millis(ttl));
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    let mut workers = value::array(reply)
        .and_then(|ids| ids.into_iter().map(value::text).collect::<Option<Vec<String>>>())
        .ok_or(wrong)?;
    workers.sort_unstable();
    Ok(workers)
}

/// Removes `worker`, so that the others need not wait for its heartbeat to run out.
pub async fn leave(log: &Log, group: Group, worker: &str) -> Result<(), LogError> {
    let mut command = functions::call(functions::LEAVE, &[&log.names().workers(group)]);
    command.arg(worker);
    log.link_ref().query("leave a group", &command).await.map(drop)
}

/// The worker of each partition, by the partition's number. It depends on the set of workers, not on their order.
///
/// Rendezvous hashing alone leaves the third worker of eight partitions idle one time in nine. Therefore the best pairs of
/// (worker, partition) are taken first, and no worker gets more than an even share. Shares differ by at most one. A worker
/// that comes or goes moves its own share and, rarely, a partition or two more.
pub fn assignment<'w>(workers: &'w [String], partitions: u16) -> Vec<&'w str> {
    let mut workers: Vec<&'w str> = workers.iter().map(String::as_str).collect();
    workers.sort_unstable();
    workers.dedup();
    if workers.is_empty() {
        return Vec::new();
    }
    let floor = usize::from(partitions) / workers.len();
    let mut larger_shares = usize::from(partitions) % workers.len();
    let mut scored: Vec<(u64, &str, u16)> = workers
        .iter()
        .flat_map(|worker| (0..partitions).map(|p| (xxh3_64_with_seed(worker.as_bytes(), u64::from(p)), *worker, p)))
        .collect();
    scored.sort_unstable_by(|a, b| b.cmp(a));
    let mut owners: Vec<Option<&str>> = vec![None; usize::from(partitions)];
    let mut shares: HashMap<&str, usize> = HashMap::new();
    for (_, worker, partition) in scored {
        let owner = &mut owners[usize::from(partition)];
        let share = shares.entry(worker).or_default();
        let one_more = *share == floor && larger_shares > 0;
        if owner.is_some() || (*share >= floor && !one_more) {
            continue;
        }
        larger_shares -= usize::from(one_more);
        *share += 1;
        *owner = Some(worker);
    }
    // Shares add up to P, so every partition has found an owner.
    owners.into_iter().flatten().collect()
}

/// The worker of one partition. None if there are no workers.
pub fn assigned(workers: &[String], partitions: u16, partition: Partition) -> Option<&str> {
    assignment(workers, partitions).get(usize::from(partition.0)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: usize, round: usize) -> Vec<String> {
        (0..count).map(|n| format!("host-{round}-{n}")).collect()
    }

    #[test]
    fn every_partition_has_one_owner_and_shares_are_even() {
        for count in 1..12 {
            for partitions in [1, 8, 16, 100] {
                let workers = workers(count, 7);
                let owners = assignment(&workers, partitions);
                assert_eq!(owners.len(), usize::from(partitions));
                let share = |worker: &String| owners.iter().filter(|owner| *owner == worker).count();
                let shares: Vec<usize> = workers.iter().map(share).collect();
                assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
            }
        }
    }

    #[test]
    fn adding_or_removing_a_worker_moves_little_more_than_its_share() {
        for (partitions, allowed) in [(8usize, 1.5), (64, 5.0)] {
            for count in 1..8 {
                let mut others_moved = 0;
                for round in 0..100 {
                    let more = workers(count + 1, round);
                    let partitions = u16::try_from(partitions).unwrap();
                    let (before, after) = (assignment(&more[..count], partitions), assignment(&more, partitions));
                    let new = more.last().unwrap();
                    let share = after.iter().filter(|owner| *owner == new).count();
                    let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                    others_moved += moved - share;
                }
                let mean = f64::from(others_moved as u32) / 100.0;
                assert!(mean <= allowed, "{partitions} partitions, {count} workers: {mean} moved beside the share");
            }
        }
    }

    #[test]
    fn the_order_in_which_workers_are_listed_does_not_matter() {
        let mut listed = workers(3, 1);
        let owners: Vec<String> = assignment(&listed, 8).into_iter().map(str::to_owned).collect();
        listed.reverse();
        assert_eq!(assignment(&listed, 8), owners);
        assert_eq!(assigned(&listed, 8, Partition(5)), Some(owners[5].as_str()));
        assert_eq!(assigned(&[], 8, Partition(5)), None);
    }
}
