//! Free ports for servers that will be killed and started again.
//!
//! They lie below the range from which the kernel takes the ports of outgoing connections: in that range a client that
//! knocks at a dead server's port could be given the port itself, and a restarted server would find it taken.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;
const TRIES: u16 = 2_000;

/// A port on which nobody listens on loopback now; `None` if two thousand are taken.
pub(crate) fn free() -> Option<u16> {
    let start = (RandomState::new().hash_one(std::process::id()) % u64::from(COUNT)) as u16;
    (0..TRIES).map(|step| FIRST + (start + step) % COUNT).find(|port| is_free(*port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
