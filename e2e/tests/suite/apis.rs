//! REST, gRPC and GraphQL answer the same request with the same values and statuses.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use millrace_common::clock::now_ms;
use millrace_e2e::{World, effort, post_json};
use millrace_feature_server::proto::feature_store_v1::GetRealtimeFeaturesRequest;
use millrace_feature_server::proto::feature_store_v1::feature_store_service_client::FeatureStoreServiceClient;
use millrace_feature_server::proto::millrace_v1::feature_service_client::FeatureServiceClient;
use millrace_feature_server::proto::millrace_v1::selection::By;
use millrace_feature_server::proto::millrace_v1::value::Kind;
use millrace_feature_server::proto::millrace_v1::{
    BatchGetFeaturesRequest, FeatureList, Selection, Status, Value as Typed,
};
use prost_types::Timestamp;
use prost_types::value::Kind as Plain;
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const LIMIT: Duration = Duration::from_secs(60);
const SEED: u64 = 5;
/// Ages of events, none near the edge of a window: an answer is the same a minute later.
const AGES: [i64; 5] = [20_000, 20 * 60_000, 3 * 3_600_000, 5 * 86_400_000, 40 * 86_400_000];

/// Views beside the usual ones: a batch view, a second version, and types that JSON writes as texts.
const VIEWS: &str = r#"
  - name: household_orders
    entity: household
    query: |
      SELECT household_id, sum(sales_value) AS amount, count() AS orders, max(event_time) AS event_time
      FROM purchase WHERE feature_time < {as_of:DateTime64(3, 'UTC')} GROUP BY household_id
    features:
      - { name: amount, type: "decimal(18,2)" }
      - { name: orders, type: int64, default: 0 }
  - name: household_spend
    version: 2
    entity: household
    from: [purchase]
    ttl: 1d
    features:
      - { name: weight, agg: sum, value: properties.weight, type: float64, windows: [7d], default: 0.5 }
      - { name: receipt, agg: last, value: properties.receipt, type: int64 }
      - { name: at, agg: max, value: properties.at, type: timestamp }
      - { name: card, agg: last, value: properties.card, type: bool }
      - { name: notes, agg: last_n, n: 3, value: properties.note, type: string }
"#;
const SERVICES: &str = r#"  model:
    v1: ["household_spend:spend_7d", "household_orders:amount", "household_profile:income"]
    v2: ["household_frequency:spend_90d", "household_spend@2:weight_7d", "household_spend@2:at"]
"#;

const HOUSEHOLD: [&str; 16] = [
    "household_spend:spend_1h",
    "household_spend:spend_7d",
    "household_spend:lines_lifetime",
    "household_spend:recent_products",
    "household_spend:session_lines",
    "household_spend@2:weight_7d",
    "household_spend@2:receipt",
    "household_spend@2:at",
    "household_spend@2:card",
    "household_spend@2:notes",
    "household_profile:income",
    "household_frequency:lines_90d",
    "household_frequency:spend_90d",
    "household_orders:amount",
    "household_orders:orders",
    "household_spend:lines_7d",
];
const PRODUCT: [&str; 3] =
    ["product_popularity:lines_7d", "product_popularity:lines_lifetime", "product_popularity:households_7d"];

/// One request, in the words of no API.
struct Asked {
    entity: &'static str,
    keys: Vec<String>,
    service: Option<&'static str>,
    features: Option<Vec<&'static str>>,
    as_of: Option<i64>,
}

impl Asked {
    fn draw(random: &mut fastrand::Rng, now: i64) -> Self {
        let household = random.u8(..5) > 0;
        let (entity, names) = if household { ("household", &HOUSEHOLD[..]) } else { ("product", &PRODUCT[..]) };
        let keys = (0..random.usize(1..=6)).map(|_| random.i64(0..14).to_string()).collect();
        let (service, features) = match random.u8(..8) {
            0 => (None, None),
            1 if household => (Some("model@1"), None),
            2 if household => (Some("model@2"), None),
            _ => {
                let count = random.usize(1..=names.len().min(8));
                (None, Some(random.choose_multiple(names.iter().copied(), count)))
            }
        };
        // Now; an instant after all events; or one before the newest of them, which is an error.
        let as_of = [None, None, Some(now + 1_000), Some(now - 60 * 60_000)][random.usize(..4)];
        Self { entity, keys, service, features, as_of }
    }
}

/// A row in the words that every API has: key, status, and of each feature name, value, status, event time, source, version and
/// job.
type Row = (String, String, Vec<(String, Value, String, Option<String>, String, u64, String)>);

struct Apis {
    rest: String,
    typed: FeatureServiceClient<Channel>,
    plain: FeatureStoreServiceClient<Channel>,
}

impl Apis {
    async fn rest(&self, asked: &Asked) -> Vec<Row> {
        let mut body = json!({ "entity": asked.entity, "keys": asked.keys, "metadata": true });
        let optional =
            [("service", json!(asked.service)), ("features", json!(asked.features)), ("as_of", json!(asked.as_of))];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
            body[name] = value;
        }
        let (status, answer) = post_json(&format!("{}/v1/features", self.rest), &body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        answer["results"].as_array().expect("results").iter().map(row_of_rest).collect()
    }

    async fn graphql(&self, asked: &Asked) -> Vec<Row> {
        const QUERY: &str =
            "query($entity: String!, $keys: [ID!]!, $service: String, $features: [String!], $asOf: Instant) {
            features(entity: $entity, keys: $keys, service: $service, features: $features, asOf: $asOf) {
                key status values { name value status eventTime source version jobId } } }";
        let variables = json!({
            "entity": asked.entity, "keys": asked.keys, "service": asked.service, "features": asked.features, "asOf": asked.as_of,
        });
        let body = json!({ "query": QUERY, "variables": variables });
        let (status, answer) = post_json(&format!("{}/graphql", self.rest), &body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        answer["data"]["features"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(row_of_graphql).collect()
    }

    async fn grpc(&mut self, asked: &Asked) -> Vec<Row> {
        let by = match (asked.service, &asked.features) {
            (Some(service), _) => Some(By::Service(service.to_owned())),
            (None, Some(names)) => {
                Some(By::Features(FeatureList { names: names.iter().map(|name| (*name).to_owned()).collect() }))
            }
            (None, None) => None,
        };
        let request = BatchGetFeaturesRequest {
            entity: asked.entity.to_owned(),
            keys: asked.keys.clone(),
            selection: by.map(|by| Selection { by: Some(by) }),
            as_of: asked.as_of.map(|ms| Timestamp {
                seconds: ms.div_euclid(1_000),
                nanos: (ms.rem_euclid(1_000) * 1_000_000) as i32,
            }),
            include_metadata: true,
        };
        let answer = self.typed.batch_get_features(request).await.expect("the server answers").into_inner();
        let row = |row: millrace_feature_server::proto::millrace_v1::Row| {
            let about = row.statuses.iter().zip(row.metadata);
            let values = answer.columns.iter().zip(row.values).zip(about);
            let values = values.map(|((column, value), (status, about))| {
                let (source, version) = (column.source.clone(), u64::from(column.version));
                (
                    column.name.clone(),
                    json_of(value),
                    named(*status),
                    about.event_time.map(text_of),
                    source,
                    version,
                    about.job_id,
                )
            });
            (row.key, named(row.status), values.collect())
        };
        answer.rows.into_iter().map(row).collect()
    }

    /// The plain service has no statuses per value. It answers the values, or the call fails with a status.
    async fn agrees_with_plain(&mut self, asked: &Asked, row: &Row) {
        let names: Vec<String> = row.2.iter().map(|value| value.0.clone()).collect();
        let request = GetRealtimeFeaturesRequest { entity_id: asked.keys[0].clone(), feature_names: names };
        match self.plain.get_realtime_features(request).await {
            Ok(answer) => {
                let features = answer.into_inner().features;
                for (name, value, ..) in &row.2 {
                    assert_eq!(
                        plain_of(features[name].clone()),
                        as_double(value.clone()),
                        "{name} of {:?}",
                        asked.keys
                    );
                }
                assert_ne!(row.1, "NOT_FOUND");
            }
            Err(status) => assert_eq!((status.code(), row.1.as_str()), (Code::NotFound, "NOT_FOUND"), "{status}"),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn row_of_rest(row: &Value) -> Row {
    let values = row["values"].as_object().expect("values").iter();
    let values = values.map(|(name, value)| {
        let about = &row["metadata"][name];
        let event_time = about["event_time"].as_str().map(str::to_owned);
        let job = about["job_id"].as_str().unwrap_or_default().to_owned();
        let version = about["version"].as_u64().expect("a version");
        (name.clone(), value.clone(), text(&about["status"]), event_time, text(&about["source"]), version, job)
    });
    (text(&row["key"]), text(&row["status"]), values.collect())
}

fn row_of_graphql(row: &Value) -> Row {
    let values = row["values"].as_array().expect("values").iter();
    let values = values.map(|value| {
        let event_time = value["eventTime"].as_str().map(str::to_owned);
        let job = value["jobId"].as_str().unwrap_or_default().to_owned();
        let version = value["version"].as_u64().expect("a version");
        (
            text(&value["name"]),
            value["value"].clone(),
            text(&value["status"]),
            event_time,
            text(&value["source"]),
            version,
            job,
        )
    });
    (text(&row["key"]), text(&row["status"]), values.collect())
}

fn named(status: i32) -> String {
    Status::try_from(status).expect("a status").as_str_name().to_owned()
}

fn ms_of(timestamp: Timestamp) -> i64 {
    timestamp.seconds * 1_000 + i64::from(timestamp.nanos / 1_000_000)
}

fn text_of(timestamp: Timestamp) -> String {
    DateTime::from_timestamp_millis(ms_of(timestamp)).expect("a time").to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A typed value as JSON has it: integers past 2^53 are texts.
fn json_of(value: Typed) -> Value {
    match value.kind {
        None => Value::Null,
        Some(Kind::Int64Value(int)) if int.unsigned_abs() > 1 << 53 => json!(int.to_string()),
        Some(Kind::Int64Value(int)) => json!(int),
        Some(Kind::Float64Value(float)) => json!(float),
        Some(Kind::StringValue(text) | Kind::DecimalValue(text)) => json!(text),
        Some(Kind::BoolValue(bool)) => json!(bool),
        Some(Kind::TimestampValue(timestamp)) => json!(ms_of(timestamp)),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_of).collect(),
        Some(Kind::MapValue(map)) => map.values.into_iter().map(|(name, value)| (name, json_of(value))).collect(),
        Some(Kind::VectorValue(vector)) => json!(vector.values),
    }
}

/// A value of the plain service, whose numbers are all doubles.
fn plain_of(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Plain::NullValue(_)) => Value::Null,
        Some(Plain::NumberValue(number)) => json!(number),
        Some(Plain::StringValue(text)) => json!(text),
        Some(Plain::BoolValue(bool)) => json!(bool),
        Some(Plain::ListValue(list)) => list.values.into_iter().map(plain_of).collect(),
        Some(Plain::StructValue(map)) => map.fields.into_iter().map(|(name, value)| (name, plain_of(value))).collect(),
    }
}

fn as_double(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(as_double).collect(),
        other => other,
    }
}

/// Purchases of some households at all ages, profiles of fewer, in a drained world.
async fn filled(world: &World, ingest: &str, random: &mut fastrand::Rng, now: i64) {
    let mut events = Vec::new();
    for n in 0..200 {
        let time = now - AGES[random.usize(..AGES.len())] - random.i64(0..1_000);
        events.push(json!({
            "type": "purchase", "id": format!("p{n}"), "time": time, "household_id": random.i64(0..9), "product_id": random.i64(0..10),
            "properties": {
                "sales_value": format!("{}.{:02}", random.u8(..), random.u8(..100)), "weight": random.f64(), "card": random.bool(),
                "receipt": (1_i64 << 60) + random.i64(0..100), "at": time, "note": "n\u{e9}\u{1f600} \"x\"",
            },
        }));
    }
    // Some households are silent for long, so that their `ttl` is over; one has a profile alone.
    let old = now - 3 * 86_400_000;
    events.push(
        json!({ "type": "purchase", "id": "old", "time": old, "household_id": 10, "product_id": 3, "properties": {} }),
    );
    for household in [0, 1, 2, 11] {
        let properties = json!({ "income": format!("{household}0-74K") });
        events.push(json!({ "type": "demographics", "id": format!("d{household}"), "time": old, "household_id": household, "properties": properties }));
    }
    let (status, answer) = post_json(&format!("{ingest}/v1/events"), &json!(events)).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(events.len())), "{answer}");
    world.drained(LIMIT).await;
    world.millrace(&["materialize", "household_orders"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apis_agree_on_every_value_and_status() {
    let world = World::shared().await.patient();
    let yaml = millrace_e2e::DEFINITIONS.replace("services:", &format!("{}\nservices:", VIEWS.trim_matches('\n')));
    world.apply(&(yaml + SERVICES)).await;
    let services = world.start_all().await;
    let (mut random, now) = (fastrand::Rng::with_seed(SEED), now_ms());
    filled(&world, &services[0].url(), &mut random, now).await;

    let grpc = services[3].grpc_address().expect("a gRPC port");
    let channel =
        Endpoint::from_shared(format!("http://{grpc}")).expect("a url").connect().await.expect("gRPC answers");
    let rest = services[3].url();
    let mut apis = Apis {
        rest,
        typed: FeatureServiceClient::new(channel.clone()),
        plain: FeatureStoreServiceClient::new(channel),
    };
    let mut seen = HashSet::new();
    for number in 0..effort(300, 3_000) {
        let asked = Asked::draw(&mut random, now);
        let rest = apis.rest(&asked).await;
        assert_eq!(rest.len(), asked.keys.len());
        let of = format!("request {number}: {} {:?} {:?} {:?}", asked.entity, asked.keys, asked.features, asked.as_of);
        let mut grpc = apis.grpc(&asked).await;
        assert_eq!(apis.graphql(&asked).await, grpc, "GraphQL and gRPC, {of}");
        // This reader does not keep the order of names in a JSON object.
        grpc.iter_mut().for_each(|row| row.2.sort_by(|one, other| one.0.cmp(&other.0)));
        assert_eq!(rest, grpc, "REST and gRPC, {of}");
        if asked.as_of.is_none() && !rest[0].2.is_empty() {
            apis.agrees_with_plain(&asked, &rest[0]).await;
        }
        seen.extend(rest.into_iter().flat_map(|row| row.2).map(|value| (value.4, value.2)));
    }
    // The comparison was worth something: every store has shown values and gaps.
    for (source, status) in [
        ("redis", "PRESENT"),
        ("redis", "NULL_VALUE"),
        ("redis", "NOT_FOUND"),
        ("redis", "OUTSIDE_MAX_AGE"),
        ("redis", "ERROR"),
        ("mongodb", "PRESENT"),
        ("mongodb", "NOT_FOUND"),
        ("clickhouse", "PRESENT"),
        ("clickhouse", "NOT_FOUND"),
    ] {
        assert!(seen.contains(&(source.to_owned(), status.to_owned())), "no {status} of {source}");
    }
}
