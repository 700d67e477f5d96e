//! `millrace get`: one entity, every feature: value, status, event time, source.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::output::print;

/// Shows every feature of one entity, as a model would read it.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// The entity's name.
    pub entity: String,

    /// Its key.
    pub key: String,

    /// Only these features, as `view:feature`; all by default.
    #[arg(long, value_delimiter = ',')]
    pub features: Vec<String>,

    /// The values at this instant, in epoch ms; by default now.
    #[arg(long)]
    pub as_of: Option<i64>,

    /// The feature server.
    #[arg(long, env = "MILLRACE_SERVER_URL", default_value = "http://127.0.0.1:8081")]
    pub url: String,
}

/// Asks the feature server and prints a table.
pub async fn run(args: GetArgs) -> anyhow::Result<()> {
    let server = FeatureServerClient { http: reqwest::Client::new(), url: &args.url };
    let features = match args.features.is_empty() {
        true => server.features_of(&args.entity).await?,
        false => args.features.clone(),
    };
    let mut body = json!({ "entity": args.entity, "keys": [args.key], "features": features, "metadata": true });
    if let Some(as_of) = args.as_of {
        body["as_of"] = as_of.into();
    }
    let answer = server.send(server.http.post(format!("{}/v1/features", args.url)).json(&body)).await?;
    let heading = format!("{} {}  (as of {})\n", args.entity, args.key, answer["as_of"]);
    print(&(heading + &table(&features, &answer["results"][0])))
}

fn table(features: &[String], result: &Value) -> String {
    let line = |feature: &String| {
        let metadata = &result["metadata"][feature];
        let text = |name: &str| metadata[name].as_str().unwrap_or("-").to_owned();
        format!(
            "  {feature:<44} {:<28} {:<16} {:<26} {}\n",
            result["values"][feature].to_string(),
            text("status"),
            text("event_time"),
            text("source"),
        )
    };
    features.iter().map(line).collect()
}

struct FeatureServerClient<'a> {
    http: reqwest::Client,
    url: &'a str,
}

impl FeatureServerClient<'_> {
    /// References to all features of an entity, from the catalog.
    async fn features_of(&self, entity: &str) -> anyhow::Result<Vec<String>> {
        let catalog = self.send(self.http.get(format!("{}/v1/catalog", self.url))).await?;
        let views = catalog["views"].as_array().map(Vec::as_slice).unwrap_or_default();
        let features: Vec<String> = views.iter().filter(|view| view["entity"] == entity).flat_map(references).collect();
        if features.is_empty() {
            bail!("no view describes an entity `{entity}`");
        }
        Ok(features)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let unreachable =
            || format!("failed to reach the feature server at {}; start it, or give another --url", self.url);
        let answer = request.send().await.with_context(unreachable)?;
        let status = answer.status();
        let body: Value = answer.json().await.context("the answer of the feature server is not JSON")?;
        if !status.is_success() {
            bail!("the feature server answered {status}: {}", body["error"].as_str().unwrap_or("without a reason"));
        }
        Ok(body)
    }
}

/// References to the features of a view of the catalog: `view:feature`, with the version where it is not 1.
fn references(view: &Value) -> Vec<String> {
    let name = view["name"].as_str().unwrap_or_default();
    let prefix = match view["version"].as_u64() {
        None | Some(1) => name.to_owned(),
        Some(version) => format!("{name}@{version}"),
    };
    let features = view["features"].as_array().map(Vec::as_slice).unwrap_or_default();
    features.iter().filter_map(|feature| feature["name"].as_str()).map(|name| format!("{prefix}:{name}")).collect()
}
