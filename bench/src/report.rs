//! The measurements as Markdown: medians over rounds, and their spread.

use std::fmt;

use crate::config::Scale;
use crate::cpu::Seconds;
use crate::latencies::Latencies;
use crate::stores::BenchStores;

/// One measurement of one side.
#[derive(Clone, Debug)]
pub struct Round {
    /// The rate, in the row's unit.
    pub value: f64,
    /// p50 and p99 in ms, if latencies were measured.
    pub latency: Option<(f64, f64)>,
    /// CPU seconds per million, by process.
    pub cpu: Seconds,
}

/// The target of a measurement.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// At least this part of the bare peer's rate.
    Ratio(f64),
    /// At least this rate.
    AtLeast(f64),
    /// A p99 of at most this many ms.
    P99(f64),
}

/// Both sides of one measurement, over all rounds.
#[derive(Clone, Debug)]
pub struct Row {
    /// The name of the measurement.
    pub what: String,
    /// The unit.
    pub unit: &'static str,
    /// The name of the bare peer; empty if Millrace is measured alone.
    pub peer: &'static str,
    /// The target, if there is one.
    pub aim: Option<Aim>,
    /// Millrace.
    pub ours: Vec<Round>,
    /// The peer.
    pub bare: Vec<Round>,
}

/// All measurements of a run.
pub struct Report {
    heading: String,
    rows: Vec<Row>,
    facts: Vec<(String, String)>,
}

impl Round {
    /// A rate without latencies.
    pub fn of(value: f64, cpu: Seconds) -> Self {
        Self { value, latency: None, cpu }
    }

    /// Adds latencies.
    pub fn with(mut self, latencies: &Latencies) -> Self {
        self.latency = Some((latencies.ms(0.5), latencies.ms(0.99)));
        self
    }
}

impl Row {
    /// A row without rounds.
    pub fn new(what: impl Into<String>, unit: &'static str, peer: &'static str, aim: Option<Aim>) -> Self {
        Self { what: what.into(), unit, peer, aim, ours: Vec::new(), bare: Vec::new() }
    }

    /// Prints the last round on standard error.
    pub fn progress(&self) {
        let last = |rounds: &[Round]| rounds.last().map_or("-".to_owned(), |round| number(round.value));
        eprintln!("bench: {}: {} {}, bare {}", self.what, last(&self.ours), self.unit, last(&self.bare));
    }

    fn ratio(&self) -> Option<f64> {
        (!self.bare.is_empty() && !self.ours.is_empty()).then(|| value(&self.ours) / value(&self.bare))
    }

    fn aim_text(&self) -> String {
        let judged = |reached: bool, aim: String| format!("{aim}: {}", if reached { "reached" } else { "missed" });
        match self.aim {
            None => String::new(),
            Some(Aim::Ratio(aim)) => judged(self.ratio().is_some_and(|ratio| ratio >= aim), format!("≥ {aim} × bare")),
            Some(Aim::AtLeast(aim)) => judged(value(&self.ours) >= aim, format!("≥ {}", number(aim))),
            Some(Aim::P99(aim)) => judged(latency(&self.ours, |l| l.1) <= aim, format!("p99 ≤ {aim} ms")),
        }
    }
}

impl Report {
    /// A report without measurements.
    pub fn about(stores: &BenchStores, scale: &Scale) -> Self {
        let stack = &stores.stack;
        let servers = [stack.redis(), stack.mongodb(), stack.clickhouse()].map(|store| store.server()).join(", ");
        let rounds = if scale.quick { "**a quick run: these numbers mean nothing**" } else { "medians" };
        let heading = format!("{}; {servers}; {} rounds, {rounds}.", machine(), scale.rounds);
        Self { heading, rows: Vec::new(), facts: Vec::new() }
    }

    /// Adds a measurement, if it was made.
    pub fn add(&mut self, row: Row) {
        if !row.ours.is_empty() {
            self.rows.push(row);
        }
    }

    /// Adds a number that has no peer.
    pub fn fact(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.facts.push((what.into(), value.into()));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.heading)?;
        writeln!(f, "| | Millrace | bare peer | ratio | aim |\n|---|---:|---:|---:|---|")?;
        for row in &self.rows {
            let ratio = row.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            let bare =
                if row.bare.is_empty() { "–".to_owned() } else { format!("{} ({})", spread(&row.bare), row.peer) };
            writeln!(
                f,
                "| {}, {} | {} | {bare} | {ratio} | {} |",
                row.what,
                row.unit,
                spread(&row.ours),
                row.aim_text()
            )?;
        }
        writeln!(f, "\n| | side | p50 ms | p99 ms | CPU seconds per million |\n|---|---|---:|---:|---|")?;
        for row in &self.rows {
            for (side, rounds) in [("Millrace", &row.ours), ("bare", &row.bare)] {
                if !rounds.is_empty() {
                    let (p50, p99) = (latency(rounds, |l| l.0), latency(rounds, |l| l.1));
                    writeln!(f, "| {} | {side} | {} | {} | {} |", row.what, ms(p50), ms(p99), cpu(rounds))?;
                }
            }
        }
        if !self.facts.is_empty() {
            writeln!(f, "\n| | |\n|---|---:|")?;
        }
        self.facts.iter().try_for_each(|(what, value)| writeln!(f, "| {what} | {value} |"))
    }
}

/// The median. Of an even number of values, the upper of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number for people.
pub fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

fn value(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.value).collect())
}

fn latency(rounds: &[Round], part: impl Fn((f64, f64)) -> f64) -> f64 {
    median(rounds.iter().filter_map(|round| round.latency).map(part).collect())
}

fn spread(rounds: &[Round]) -> String {
    let values = || rounds.iter().map(|round| round.value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    match rounds.len() {
        0 => "–".to_owned(),
        1 => number(least),
        _ => format!("{} [{}–{}]", number(value(rounds)), number(least), number(most)),
    }
}

fn ms(value: f64) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{value:.2}") }
}

fn cpu(rounds: &[Round]) -> String {
    let names = rounds.first().map(|round| round.cpu.clone()).unwrap_or_default();
    let of = |at: usize| median(rounds.iter().filter_map(|round| round.cpu.get(at)).map(|(_, s)| *s).collect());
    let parts = names.iter().enumerate().map(|(at, (name, _))| (name, of(at))).filter(|(_, seconds)| *seconds >= 0.05);
    parts.map(|(name, seconds)| format!("{name} {seconds:.1}")).collect::<Vec<_>>().join(", ")
}

/// Processors, and how busy they were before anything was measured.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("CPU", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned();
    format!("{cores} × {model} for the stores, the services and the load together; load average before: {load}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_medians_are_in_the_middle() {
        assert_eq!([number(0.84), number(312.4), number(1_234_567.0)], ["0.8", "312", "1,234,567"]);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
