//! Profiles on the real server: monotonic, readable, and the same by both ways of writing. The server is the stack's
//! that all tests of a checkout share, or `MONGODB_URL`.

use std::time::Duration;

use millrace_common::stores::profiles::{
    Condition, ProfileError, ProfilePut, ProfileStore, ProfileWritten, Search, Test, migrate,
};
use millrace_core::aggregate::Stamp;
use millrace_core::codec;
use millrace_core::definitions::{Definitions, DefinitionsSource, View};
use millrace_core::finished::Found;
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use serde_json::json;

const YAML: &str = r#"
entities: { user: { key: user_id, type: string } }
events: { profile: { partition_by: user } }
views:
  - name: user_profile
    entity: user
    store: mongodb
    from: [profile]
    features:
      - { name: income, agg: last, value: properties.income, type: "decimal(18,2)" }
      - { name: born, agg: last, value: properties.born, type: timestamp }
      - { name: updates, agg: count, index: true }
      - { name: plans, agg: last_n, n: 2, value: properties.plan, type: string }
      - { name: nickname, agg: last, value: properties.nickname, type: string }
"#;

struct Fixture {
    store: ProfileStore,
    view: View,
    url: String,
    namespace: String,
    _stack: Option<millrace_devstack::Stack>,
}

impl Fixture {
    /// A database of its own under this name, empty.
    async fn new(name: &str) -> Self {
        let (url, stack) = crate::support::mongodb().await;
        let namespace = format!("test_{name}");
        Client::with_uri_str(&url).await.unwrap().database(&namespace).drop().await.unwrap();
        let store = ProfileStore::connect(&url, &namespace, 8, Duration::from_secs(30)).await.unwrap();
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        let view = Definitions::compile(source).unwrap().views.remove(0);
        Self { store, view, url, namespace, _stack: stack }
    }

    async fn document(&self, key: &str) -> Document {
        let database = Client::with_uri_str(&self.url).await.unwrap().database(&self.namespace);
        database.collection("user_profile_v1").find_one(doc! { "_id": key }).await.unwrap().unwrap()
    }

    /// The state after `events` events, each a millisecond after the one before.
    fn slot(&self, events: u64) -> Slot {
        let mut slot = Slot::empty(&self.view);
        for number in 1..=events {
            let position = Position::new(1_700_000_000_000 + number, 0);
            let stamp =
                Stamp { feature_time: position.stream_time(), event_id: "e", position, partition: Partition(3) };
            let inputs = [
                Some(Scalar::Decimal(i128::from(number) * 100 + 15)),
                Some(Scalar::Int(86_400_000)),
                Some(Scalar::Text(format!("plan-{number}").into())),
                None,
            ];
            slot.absorb(&self.view, stamp, &inputs).unwrap();
        }
        slot
    }

    async fn put(&self, puts: &[(&str, Slot)]) -> Vec<ProfileWritten> {
        put(&self.store, &self.view, puts).await
    }
}

async fn put(store: &ProfileStore, view: &View, puts: &[(&str, Slot)]) -> Vec<ProfileWritten> {
    let keys: Vec<KeyText> = puts.iter().map(|(key, _)| KeyText::from_canonical(key)).collect();
    let puts: Vec<ProfilePut<'_>> =
        keys.iter().zip(puts).map(|(key, (_, slot))| ProfilePut { view, key, slot, partition: Partition(3) }).collect();
    store.put(&puts).await.unwrap()
}

#[tokio::test]
async fn a_document_is_replaced_only_by_a_later_checkpoint_by_either_way_of_writing() {
    use ProfileWritten::{Already, Stale, Written};
    let fixture = Fixture::new("profiles_order").await;
    let repaired = |events| {
        let mut slot = fixture.slot(events);
        slot.checkpoint.generation = 1;
        slot
    };
    for (store, key) in [(fixture.store.clone(), "bulk"), (fixture.store.clone().with_update_command(), "update")] {
        for (slot, expected) in [
            (fixture.slot(2), Written),
            (fixture.slot(2), Already),
            (fixture.slot(1), Stale),
            (fixture.slot(3), Written),
            (repaired(1), Written),
            (fixture.slot(9), Stale),
        ] {
            assert_eq!(put(&store, &fixture.view, &[(key, slot)]).await, [expected], "{key}");
        }
        let stored = fixture.store.load(&fixture.view, &[key]).await.unwrap();
        assert_eq!(codec::decode_for(&fixture.view, &stored[key]).unwrap(), repaired(1));
    }
}

#[tokio::test]
async fn one_refusal_holds_up_no_other() {
    use ProfileWritten::{Already, Stale, Written};
    let fixture = Fixture::new("profiles_unordered").await;
    fixture.put(&[("b", fixture.slot(5)), ("c", fixture.slot(2))]).await;
    let slot = |events| fixture.slot(events);
    for store in [fixture.store.clone(), fixture.store.clone().with_update_command()] {
        let puts = [("b", slot(2)), ("a", slot(2)), ("c", slot(2)), ("d", slot(2))];
        let expected = match fixture.store.load(&fixture.view, &["a"]).await.unwrap().is_empty() {
            true => [Stale, Written, Already, Written],
            false => [Stale, Already, Already, Already],
        };
        assert_eq!(put(&store, &fixture.view, &puts).await, expected);
    }
}

#[tokio::test]
async fn racing_puts_never_step_back() {
    let fixture = Fixture::new("profiles_race").await;
    let racers = (0..8u64).map(|racer| {
        let (store, view) = (&fixture.store, &fixture.view);
        let fixture = &fixture;
        async move {
            for round in 0..20 {
                let events = 1 + (racer * 7 + round * 3) % 40;
                put(store, view, &[("hot", fixture.slot(events))]).await;
            }
        }
    });
    futures::future::join_all(racers).await;
    let stored = fixture.store.load(&fixture.view, &["hot"]).await.unwrap();
    let highest = (0..8u64).flat_map(|racer| (0..20).map(move |round| 1 + (racer * 7 + round * 3) % 40)).max().unwrap();
    assert_eq!(codec::decode_for(&fixture.view, &stored["hot"]).unwrap(), fixture.slot(highest));
}

#[tokio::test]
async fn a_document_is_readable_by_people_and_by_us() {
    let fixture = Fixture::new("profiles_read").await;
    fixture.put(&[("ada", fixture.slot(3))]).await;
    let document = fixture.document("ada").await;
    let income = document.get_document("features").unwrap().get_document("income").unwrap();
    assert_eq!(income.get("value"), Some(&Bson::Decimal128("3.15".parse().unwrap())));
    assert_eq!(income.get_datetime("timestamp").unwrap().timestamp_millis(), 1_700_000_000_003);
    assert_eq!(income.get_i64("version").unwrap(), 1);
    assert_eq!(document.get_document("metadata").unwrap().get_str("source").unwrap(), "stream");
    assert_eq!(document.get_document("checkpoint").unwrap().get_i32("partition").unwrap(), 3);

    let rows = fixture.store.read(&fixture.view, &[3, 0, 1, 4, 2], &["nobody", "ada", "ada"]).await.unwrap();
    let profile = rows[1].clone().known().unwrap();
    assert_eq!(rows[0], Found::Unknown);
    assert_eq!(rows[2], rows[1]);
    assert_eq!(profile.newest, Some(1_700_000_000_003));
    let values: Vec<_> = profile.values.into_iter().map(Result::unwrap).collect();
    let expected =
        [Some(json!(["plan-3", "plan-2"])), Some(json!("3.15")), Some(json!(86_400_000)), None, Some(json!(3))];
    assert_eq!(values, expected);
}

#[tokio::test]
async fn a_document_past_the_servers_limit_is_refused_and_its_neighbours_are_written() {
    let fixture = Fixture::new("profiles_large").await;
    let mut vast = fixture.slot(1);
    let position = Position::new(1_700_000_000_002, 0);
    let stamp = Stamp { feature_time: 5, event_id: "e", position, partition: Partition(3) };
    let plan = Scalar::Text("x".repeat(9 << 20).into());
    vast.absorb(&fixture.view, stamp, &[None, None, Some(plan), None]).unwrap();
    let outcomes = fixture.put(&[("vast", vast), ("ada", fixture.slot(1))]).await;
    assert!(matches!(&outcomes[0], ProfileWritten::Refused(reason) if reason.contains("bytes")), "{outcomes:?}");
    assert_eq!(outcomes[1], ProfileWritten::Written);
}

#[tokio::test]
async fn a_document_that_is_no_profile_refuses_its_own_put_only_and_stays() {
    let fixture = Fixture::new("profiles_foreign").await;
    let database = Client::with_uri_str(&fixture.url).await.unwrap().database(&fixture.namespace);
    let foreign = [
        doc! { "_id": "none", "x": 1 },
        doc! { "_id": "number", "checkpoint": { "order": 7 } },
        doc! { "_id": "text", "checkpoint": { "order": "zzz" } },
    ];
    database.collection::<Document>("user_profile_v1").insert_many(foreign.clone()).await.unwrap();
    for store in [fixture.store.clone(), fixture.store.clone().with_update_command()] {
        let puts = [("none", 2), ("number", 2), ("ada", 2), ("text", 2)].map(|(key, n)| (key, fixture.slot(n)));
        let outcomes = put(&store, &fixture.view, &puts).await;
        for refused in [&outcomes[0], &outcomes[1], &outcomes[3]] {
            let said = matches!(refused, ProfileWritten::Refused(why) if why.contains("checkpoint.order"));
            assert!(said, "{outcomes:?}");
        }
        assert!(matches!(outcomes[2], ProfileWritten::Written | ProfileWritten::Already), "{outcomes:?}");
    }
    let stored = fixture.store.load(&fixture.view, &["none", "ada"]).await.unwrap();
    assert!(codec::decode_for(&fixture.view, &stored["none"]).is_err());
    assert_eq!(codec::decode_for(&fixture.view, &stored["ada"]).unwrap(), fixture.slot(2));
    let read = fixture.store.read(&fixture.view, &[3], &["none", "ada", "nobody"]).await.unwrap();
    let foreign_document = "not a profile that Millrace wrote";
    assert!(matches!(&read[0], Found::Unreadable(why) if why.contains(foreign_document)), "{read:?}");
    assert_eq!((read[1].clone().known().unwrap().values.len(), &read[2]), (1, &Found::Unknown));
    for document in foreign {
        assert_eq!(fixture.document(document.get_str("_id").unwrap()).await, document);
    }
}

#[tokio::test]
async fn migrations_are_recorded_and_an_edited_one_is_refused() {
    let fixture = Fixture::new("profiles_migrate").await;
    assert_eq!(migrate(&fixture.url, &fixture.namespace).await.unwrap(), ["0001_profiles"]);
    assert!(migrate(&fixture.url, &fixture.namespace).await.unwrap().is_empty());
    fixture.store.ensure(&fixture.view).await.unwrap();
    fixture.store.ensure(&fixture.view).await.unwrap();
    let database = Client::with_uri_str(&fixture.url).await.unwrap().database(&fixture.namespace);
    let names = database.collection::<Document>("user_profile_v1").list_index_names().await.unwrap();
    assert!(names.contains(&"updated_at".to_owned()) && names.contains(&"by_updates".to_owned()), "{names:?}");
    let applied = database.collection::<Document>("migrations");
    applied.update_one(doc! { "_id": "0001_profiles" }, doc! { "$set": { "hash": "other" } }).await.unwrap();
    assert!(matches!(migrate(&fixture.url, &fixture.namespace).await, Err(ProfileError::Edited(_))));
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_in_time() {
    let store =
        ProfileStore::connect("mongodb://127.0.0.1:1", "test_away", 1, Duration::from_millis(200)).await.unwrap();
    assert!(matches!(store.ping().await, Err(ProfileError::Unavailable(_) | ProfileError::Late(_))));
}

#[tokio::test]
async fn entities_are_found_by_typed_values_page_by_page() {
    let fixture = Fixture::new("profiles_search").await;
    // `u1` has had one update, `u2` two, and so on: incomes of 1.15, 2.15, …; nicknames of none.
    let puts: Vec<(String, Slot)> = (1..=9u64).map(|n| (format!("u{n}"), fixture.slot(n))).collect();
    let puts: Vec<(&str, Slot)> = puts.iter().map(|(key, slot)| (key.as_str(), slot.clone())).collect();
    fixture.put(&puts).await;
    fixture.store.ensure(&fixture.view).await.unwrap();
    let (view, budget) = (&fixture.view, Duration::from_secs(10));
    let all =
        Search { view, conditions: &[], features: &[], after: None, limit: 100, since: None, from_run: None, budget };
    let found = async |search: Search<'_>| {
        let found = fixture.store.search(&search).await.unwrap();
        found.into_iter().map(|(key, _)| key[1..].parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    let of = async |conditions: &[(&str, Test)]| {
        let condition =
            |(name, test): &(&str, Test)| Condition { feature: view.feature(name).unwrap(), test: test.clone() };
        let conditions: Vec<Condition> = conditions.iter().map(condition).collect();
        found(Search { conditions: &conditions, ..all.clone() }).await
    };
    let nothing: [u64; 0] = [];
    assert_eq!(of(&[("income", Test::Is(json!("2.15")))]).await, [2]);
    assert_eq!(of(&[("income", Test::Above(json!("7.15")))]).await, [8, 9]);
    assert_eq!(of(&[("income", Test::From(json!("8.150")))]).await, [8, 9], "numbers, not texts");
    let between = [("updates", Test::From(json!(3))), ("updates", Test::Below(json!(6)))];
    assert_eq!(of(&between).await, [3, 4, 5]);
    assert_eq!(of(&[("updates", Test::IsNot(json!(1)))]).await, [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(of(&[("updates", Test::OneOf(vec![json!(2), json!(9), json!(77)]))]).await, [2, 9]);
    assert_eq!(of(&[("born", Test::UpTo(json!(86_400_000)))]).await.len(), 9);
    assert_eq!(of(&[("born", Test::Below(json!(86_400_000)))]).await, nothing);
    assert_eq!(of(&[("plans", Test::Exists), ("updates", Test::UpTo(json!(2)))]).await, [1, 2]);
    for test in [Test::Exists, Test::IsNot(json!("x")), Test::Is(json!("{$ne: null}"))] {
        assert_eq!(of(&[("nickname", test)]).await, nothing, "what is not there is not compared");
    }

    assert_eq!(found(Search { limit: 4, ..all.clone() }).await, [1, 2, 3, 4]);
    assert_eq!(found(Search { limit: 4, after: Some("u4"), ..all.clone() }).await, [5, 6, 7, 8]);
    assert_eq!(found(Search { limit: 4, after: Some("u8"), ..all.clone() }).await, [9]);
    assert_eq!(found(Search { since: Some(1_700_000_000_008), ..all.clone() }).await, [8, 9]);

    let rows = fixture.store.search(&Search { features: &[2, 4], limit: 1, ..all.clone() }).await.unwrap();
    let profile = rows[0].1.clone().known().unwrap();
    assert_eq!((profile.newest, profile.values), (Some(1_700_000_000_001), vec![Ok(Some(json!(1))), Ok(None)]));
}
