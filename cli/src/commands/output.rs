//! Prints the output of commands, and gives instants and counts one form in all of them.

use std::io::{ErrorKind, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use millrace_common::log::job::RunCounts;
use serde_json::{Value, json};

/// Prints a command's whole output. A reader that stops early (`| head`) is not an error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

/// An instant as text, to the millisecond.
pub fn instant(ms: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(ms);
    time.map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
pub fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

/// A cell of a table: a dash where there is nothing to show.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// A run as a JSON object: these members and its counts.
pub fn with_counts<const N: usize>(members: [(&str, Value); N], counts: &RunCounts) -> Value {
    let counts = [
        ("rows", json!(counts.rows)),
        ("written", json!(counts.written)),
        ("already", json!(counts.already)),
        ("failed", json!(counts.failed)),
    ];
    let members = members.into_iter().chain(counts);
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}
