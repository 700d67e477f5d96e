//! Free ports for servers that will be killed and started again.
//!
//! They lie below the range from which the kernel takes the ports of outgoing connections. In that range a client that
//! tries to connect to a dead server could be given the server's port itself, and a restarted server would find it taken.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::DevstackError;

const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;
const TRIES: u16 = 2_000;

/// A port of loopback on which nothing listens now.
pub(crate) fn free() -> Result<u16, DevstackError> {
    let start = (RandomState::new().hash_one(std::process::id()) % u64::from(COUNT)) as u16;
    let found = (0..TRIES).map(|step| FIRST + (start + step) % COUNT).find(|port| is_free(*port));
    found.ok_or_else(|| DevstackError::Missing {
        tool: "free port",
        advice: format!("{TRIES} ports on loopback are taken; stop the programs that hold them"),
    })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
