//! Whether the demo's stores and APIs hold what they must: scripts of the example compute every value from the data set
//! with another engine, and the rows in ClickHouse are counted.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use millrace_devstack::Stack;
use millrace_devstack::services::Service;
use serde_json::{Value, json};

use crate::demo::installation::Installation;
use crate::journey;
use crate::shell::root;

pub(crate) struct Check<'d> {
    pub(crate) installation: &'d Installation,
    /// Python with the packages of the scripts.
    pub(crate) python: &'d Path,
    /// The folder of the data set.
    pub(crate) data: &'d Path,
    /// The report of the replay.
    pub(crate) report: &'d Path,
}

impl Check<'_> {
    /// All counts, and whether every check has passed.
    pub(crate) async fn summary(&self, stack: &Stack, server: &Service, seed: u64) -> anyhow::Result<Value> {
        let streamed = self.streamed_views(server, seed)?;
        let batch = self.batch_view(server)?;
        let report: Value = serde_json::from_str(&std::fs::read_to_string(self.report)?)?;
        let mut summary = json!({
            "events_sent": report["sent"],
            "accepted": report["accepted"],
            "clickhouse_rows": self.clickhouse(stack, "SELECT count() FROM events").await?,
            "clickhouse_distinct": self.clickhouse(stack, "SELECT uniqExact(source, event_id) FROM events").await?,
        });
        let passed = streamed["check_passed"] == true && batch["check_passed"] == true;
        for (name, value) in streamed.as_object().into_iter().flatten() {
            summary[name] = value.clone();
        }
        summary["check_passed"] = passed.into();
        summary["batch"] = batch;
        Ok(summary)
    }

    fn streamed_views(&self, server: &Service, seed: u64) -> anyhow::Result<Value> {
        let mut script = self.script("check.py");
        judged(script.args(["--url", &server.url(), "--seed", &seed.to_string()]))
    }

    /// Runs the batch view, then compares it for every household over all APIs.
    fn batch_view(&self, server: &Service) -> anyhow::Result<Value> {
        let ran = self.installation.command(&["materialize", "household_orders", "--json"]).output()?;
        eprint!("{}", String::from_utf8_lossy(&ran.stderr));
        if !ran.status.success() {
            bail!("millrace materialize failed: {}", ran.status);
        }
        let run = self.installation.dir.join("materialized.json");
        std::fs::write(&run, ran.stdout)?;
        let grpc = server.grpc_address().context("the feature server has no gRPC port")?;
        let mut script = self.script("check_orders.py");
        script.arg("--run").arg(run).arg("--protos").arg(root().join("feature-server/proto"));
        judged(script.args(["--url", &server.url(), "--grpc", &grpc]))
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.python);
        command.arg(journey::folder().join("check").join(name));
        command.arg("--data").arg(self.data).arg("--report").arg(self.report);
        command
    }

    async fn clickhouse(&self, stack: &Stack, query: &str) -> anyhow::Result<i64> {
        let url = format!("{}/?database={}", stack.clickhouse_url(), self.installation.namespace);
        let text = reqwest::Client::new().post(url).body(query.to_owned()).send().await?.text().await?;
        text.trim().parse().with_context(|| format!("`{query}` answered {text}"))
    }
}

/// Runs a script of checks. It prints a table, and at the end its counts as a line of JSON.
fn judged(script: &mut Command) -> anyhow::Result<Value> {
    let output = script.output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let (table, last) = printed.trim_end().rsplit_once('\n').unwrap_or(("", printed.trim_end()));
    if !table.is_empty() {
        println!("{table}");
    }
    let mut counts: Value = serde_json::from_str(last).with_context(|| format!("the check ended with: {last}"))?;
    counts["check_passed"] = output.status.success().into();
    Ok(counts)
}
