//! CPU time of processes, from `/proc/<pid>/stat`. All processes share the machine, and this shows which of them works.

/// Processes by the name under which they are reported.
#[derive(Clone, Debug, Default)]
pub struct Processes(Vec<(&'static str, u32)>);

/// CPU seconds by name.
pub type Seconds = Vec<(&'static str, f64)>;

impl Processes {
    /// This process, which makes the load.
    pub fn with_load() -> Self {
        Self(vec![("load", std::process::id())])
    }

    /// Adds a process, if it runs.
    pub fn and(mut self, name: &'static str, pid: Option<u32>) -> Self {
        self.0.extend(pid.map(|pid| (name, pid)));
        self
    }

    /// CPU seconds of each so far.
    pub fn read(&self) -> Seconds {
        self.0.iter().map(|(name, pid)| (*name, seconds(*pid).unwrap_or_default())).collect()
    }

    /// CPU seconds of each since `before`, per million operations.
    pub fn per_million(&self, before: &Seconds, done: f64) -> Seconds {
        let since = |((name, now), (_, before)): ((&'static str, f64), &(&'static str, f64))| {
            (name, (now - before) * 1e6 / done.max(1.0))
        };
        self.read().into_iter().zip(before).map(since).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a run fit in 52 bits")]
fn seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
    let mut fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_time_and_a_process_that_is_gone_has_none() {
        assert!(seconds(std::process::id()).is_some());
        assert_eq!(seconds(u32::MAX), None);
    }
}
