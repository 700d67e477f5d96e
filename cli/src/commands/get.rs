//! `millrace get`: one entity, every feature: value, status, event time, source.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

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
    let client = reqwest::Client::new();
    let features = match args.features.is_empty() {
        true => all_features(&client, &args).await?,
        false => args.features.clone(),
    };
    let mut body = serde_json::json!({
        "entity": args.entity, "keys": [args.key], "features": features, "metadata": true,
    });
    if let Some(as_of) = args.as_of {
        body["as_of"] = as_of.into();
    }
    let answer = send(client.post(format!("{}/v1/features", args.url)).json(&body)).await?;
    let result = &answer["results"][0];
    println!("{} {}  (as of {})", args.entity, args.key, answer["as_of"]);
    for feature in &features {
        let meta = &result["metadata"][feature];
        let text = |name: &str| meta[name].as_str().unwrap_or("-").to_owned();
        println!(
            "  {feature:<44} {:<28} {:<16} {:<26} {}",
            result["values"][feature].to_string(),
            text("status"),
            text("event_time"),
            text("source"),
        );
    }
    Ok(())
}

async fn all_features(client: &reqwest::Client, args: &GetArgs) -> anyhow::Result<Vec<String>> {
    let catalog = send(client.get(format!("{}/v1/catalog", args.url))).await?;
    let views = catalog["views"].as_array().cloned().unwrap_or_default();
    let of_entity = views.iter().filter(|view| view["entity"] == args.entity.as_str());
    let references = |view: &Value| -> Vec<String> {
        let name = view["name"].as_str().unwrap_or_default();
        let prefix = match view["version"].as_u64() {
            None | Some(1) => name.to_owned(),
            Some(version) => format!("{name}@{version}"),
        };
        let features = view["features"].as_array().cloned().unwrap_or_default();
        features.iter().filter_map(|f| f["name"].as_str()).map(|f| format!("{prefix}:{f}")).collect()
    };
    let features: Vec<String> = of_entity.flat_map(references).collect();
    if features.is_empty() {
        bail!("no view describes an entity `{}`", args.entity);
    }
    Ok(features)
}

async fn send(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await.context("failed to reach the feature server; is it running?")?;
    let status = answer.status();
    let body: Value = answer.json().await.context("the answer of the feature server is not JSON")?;
    if !status.is_success() {
        bail!("the feature server answered {status}: {}", body["error"].as_str().unwrap_or("without a reason"));
    }
    Ok(body)
}
