//! A real ClickHouse for tests: the stack that all tests of a checkout share, or `CLICKHOUSE_URL`; a database each.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its own part")]

use millrace_common::stores::clickhouse::{ClickHouse, migrate};
use millrace_devstack::Stack;

/// A migrated database of its own under this name, empty, and what keeps the server alive.
pub async fn warehouse(name: &str) -> (ClickHouse, Option<Stack>) {
    let (url, stack) = server().await;
    let namespace = format!("{name}_{}", uuid::Uuid::now_v7().simple());
    migrate(&url, &namespace).await.unwrap();
    (ClickHouse::connect(&url, &namespace).unwrap(), stack)
}

/// Its URL.
pub async fn server() -> (String, Option<Stack>) {
    if let Ok(url) = std::env::var("CLICKHOUSE_URL") {
        return (url, None);
    }
    let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
    (stack.clickhouse_url().to_owned(), Some(stack))
}

/// Numbers that are the same in every run (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}
