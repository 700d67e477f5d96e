//! One definition, two engines: random events folded in Rust as the online path folds them, and the same events in
//! the real ClickHouse asked by the SQL of the same definition, give the same answers. Both are held to the naive twin,
//! which recomputes each value from the list of a key's entries.

#[path = "../../../core/tests/suite/naive.rs"]
mod naive;

use crate::warehouse;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_common::log::DeadLetter;
use millrace_common::stores::clickhouse::{ClickHouse, Layout, Rows};
use millrace_core::aggregate::{Aggregate, Stamp};
use millrace_core::assemble::{FeatureValue, Status, assemble};
use millrace_core::definitions::{DefinitionErrors, Definitions, DefinitionsSource, RouteInput, ValueType, View};
use millrace_core::event::{Event, EventForm, EventId, RawEvent};
use millrace_core::extract;
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::{MAX_TEXT_BYTES, Scalar};
use millrace_core::slot::Slot;
use millrace_core::sql::{Known, Scope};
use naive::{Entry, Expected};
use serde_json::Value;
use warehouse::{Random, warehouse};

const PARTITIONS: u16 = 3;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Where the log's clock starts: everything else is relative to it.
const NOW: i64 = 1_790_000_000_000;

/// The inputs that features read: the path of each, and the declared type. An empty type is not declared.
const INPUTS: [(&str, &str); 15] = [
    ("properties.int", "int64"),
    ("properties.deep.er", "int64"),
    ("properties.money", "decimal(18,2)"),
    ("properties.fine", "decimal(28,9)"),
    ("properties.float", "float64"),
    ("properties.ratio", "float64"),
    ("properties.text", "string"),
    ("properties.flag", "bool"),
    ("properties.at", "timestamp"),
    ("properties.list", "list<int64>"),
    ("properties.reals", "list<float64>"),
    ("properties.map", "map<string,int64>"),
    ("properties.any", ""),
    ("item_id", ""),
    ("user_id", ""),
];

/// Every aggregate that takes the type of an input, over every window.
fn features(sessions: bool) -> String {
    let mut windows = vec!["lifetime", "{ sliding: 20s, hop: 2s }", "{ sliding: 60s, hop: 7s }", "{ tumbling: 30s }"];
    windows.extend(sessions.then_some("{ session: 5s }"));
    let mut taken = Vec::new();
    for (i, (value, kind)) in INPUTS.iter().enumerate() {
        let kind = if kind.is_empty() { String::new() } else { format!(", type: \"{kind}\"") };
        for (e, example) in Aggregate::EXAMPLES.concat().iter().enumerate() {
            let feature = format!("name: f_{i}_{e}, {example}, value: {value}{kind}");
            if compile(&format!("      - {{ {feature} }}\n"), "", "").is_ok() {
                taken.push(feature.replacen(&format!("f_{i}_{e}"), &format!("f_{i}_{e}_AT"), 1));
            }
        }
    }
    let mut lines = String::new();
    for (at, window) in windows.iter().enumerate() {
        lines.push_str(&format!("      - {{ name: entries_{at}, agg: count, window: {window} }}\n"));
        for feature in &taken {
            let feature = feature.replacen("AT", &at.to_string(), 1);
            lines.push_str(&format!("      - {{ {feature}, window: {window} }}\n"));
        }
    }
    lines
}

fn definitions() -> Definitions {
    compile(&features(true), &features(false), &features(false)).unwrap()
}

fn compile(by_user: &str, by_item: &str, by_place: &str) -> Result<Definitions, DefinitionErrors> {
    let view = |head: &str, features: &str| match features {
        "" => String::new(),
        _ => format!("  - {head}\n    features:\n{features}"),
    };
    let yaml = format!(
        "entities:\n  user: {{ key: user_id, type: int64 }}\n  item: {{ key: item_id, type: string }}\n  \
         place: {{ key: [city, house], type: [string, int64] }}\n\
         events:\n  click: {{ partition_by: user, entities: [item, place] }}\n  view: {{ partition_by: user }}\nviews:\n{}{}{}",
        view("name: by_user\n    entity: user\n    from: [click, view]\n    lateness: 8s\n    ttl: 90s", by_user),
        view("name: by_item\n    entity: item\n    from: [click]", by_item),
        view("name: by_place\n    entity: place\n    from: [click]", by_place),
    );
    Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() })
}

type Logged = (Partition, Position, Event);

/// A log of one seed: nulls, ties, late entries, times before 1970, several partitions.
fn log(definitions: &Definitions, seed: u64) -> Vec<Logged> {
    let mut random = Random::new(seed);
    let start = NOW + i64::try_from(seed).unwrap() * 10_000_000;
    let events_from = if seed.is_multiple_of(3) { -60_000 } else { start - 120_000 };
    let mut last: BTreeMap<u16, Position> = BTreeMap::new();
    let mut ms = u64::try_from(start).unwrap();
    (0..random.below(70) + 5)
        .map(|number| {
            let text = event_text(&mut random, seed, number, events_from);
            let made = EventId::Made(format!("made-{}", random.below(9)));
            let event =
                RawEvent::parse(&text, EventForm::Nested).unwrap().validate(definitions, start + 600_000, || made);
            let event = event.unwrap_or_else(|rejected| panic!("{rejected}: {text}"));
            let partition = event.partition(PARTITIONS);
            ms += random.below(3);
            let before = last.get(&partition.0).copied().unwrap_or_default();
            let position = before.next().max(Position::new(ms, 0));
            last.insert(partition.0, position);
            (partition, position, event)
        })
        .collect()
}

fn event_text(random: &mut Random, seed: u64, number: u64, from: i64) -> String {
    let mut properties: Vec<String> = Vec::new();
    let sign = |random: &mut Random| if random.below(3) == 0 { "-" } else { "" };
    let mut add = |random: &mut Random, name: &str, value: String| match random.below(6) {
        0 => {}
        1 => properties.push(format!("\"{name}\":null")),
        _ => properties.push(format!("\"{name}\":{value}")),
    };
    let int = match random.below(4) {
        0 => format!("\"{}{}\"", sign(random), 9_007_199_254_740_990 + random.below(9)),
        1 => format!("{}{}", sign(random), 9_223_372_036_854_775_800u64 + random.below(8)),
        _ => format!("{}{}", sign(random), random.below(20)),
    };
    add(random, "int", int);
    let deep = format!("{{\"er\":{}{},\"other\":1}}", sign(random), random.below(9));
    add(random, "deep", deep);
    let (whole, cents) = (random.below(1_000), random.below(100));
    let money = format!("{}{whole}.{cents:02}", sign(random));
    let money = if random.below(2) == 0 { format!("\"{money}\"") } else { money };
    add(random, "money", money);
    let fine = format!("\"{}{}.{:09}\"", sign(random), random.below(1 << 60), random.below(1_000_000_000));
    add(random, "fine", fine);
    let float = match random.below(4) {
        0 => format!("{}{}e{}", sign(random), random.below(99) + 1, random.below(40)),
        1 => format!("{}.5", random.below(9)),
        _ => format!("{}{}.{}", sign(random), random.below(1_000), random.below(1_000_000_000_000)),
    };
    let float = if random.below(2) == 0 { format!("\"{float}\"") } else { float };
    add(random, "float", float);
    let text = ["a", "B", "é", "\\u0000", "it's", "\\\\ \\\"x\\\"\\n", "", "zz", "2024-01-01", "null", "😀"];
    let text = match random.below(6) {
        0 => random.below(13).to_string(),
        1 => (random.below(2) == 0).to_string(),
        _ => format!("\"{}\"", text[random.index(text.len())]),
    };
    add(random, "text", text);
    let flag = (random.below(2) == 0).to_string();
    add(random, "flag", flag);
    let at = match random.below(4) {
        0 => format!("\"2023-11-1{}T10:00:00.{}Z\"", random.below(9), random.below(1_000_000)),
        1 => format!("\"1969-12-31t23:59:5{}.5+02:00\"", random.below(9)),
        _ => format!("{}", 1_700_000_000_000 + random.below(1_000)),
    };
    add(random, "at", at);
    let list: Vec<String> = (0..random.below(4))
        .map(|_| if random.below(5) == 0 { "null".to_owned() } else { random.below(9).to_string() })
        .collect();
    add(random, "list", format!("[{}]", list.join(",")));
    let real = ["1.0", "2", "-0.5", "\"3.50\"", "1.25", "null", "1e30", "-2.5E200"];
    let reals: Vec<&str> = (0..random.below(4)).map(|_| real[random.index(real.len())]).collect();
    add(random, "reals", format!("[{}]", reals.join(",")));
    let map = match random.below(4) {
        0 => "{}".to_owned(),
        _ => format!("{{\"k{}\":{},\"z\":5}}", random.below(3), random.below(9)),
    };
    add(random, "map", map);
    let any = ["1", "1.5", "true", "\"x\"", "[1,\"x\"]", "{\"a\":{\"b\":1}}", "[]", "{}", "{\"a\":{}}"];
    let any = any[random.index(any.len())].to_owned();
    add(random, "any", any);
    let ratio = format!("{}{}.{:03}", sign(random), random.below(2_000), random.below(1_000));
    add(random, "ratio", ratio);
    let mut fields = vec![
        format!("\"user_id\":{}", seed * 100 + random.below(4)),
        format!("\"source\":\"s{}\"", random.below(2)),
        format!("\"properties\":{{{}}}", properties.join(",")),
    ];
    let click = random.below(4) > 0;
    fields.push(format!("\"type\":\"{}\"", if click { "click" } else { "view" }));
    if click && random.below(5) > 0 {
        fields.push(format!("\"item_id\":\"{}\"", item(seed, random.below(3))));
    }
    if click && random.below(5) > 0 {
        fields.push(format!("\"city\":\"{}\",\"house\":-{}", item(seed, random.below(2)), random.below(2) + 1));
    }
    // Ties of time, and of time and id.
    if random.below(12) > 0 || from < 0 {
        fields.push(format!("\"time\":{}", from + i64::try_from(random.below(240)).unwrap() * 500));
    }
    if random.below(3) > 0 {
        fields.push(format!("\"id\":\"e{}\"", if random.below(2) == 0 { number } else { random.below(5) }));
    }
    format!("{{{}}}", fields.join(","))
}

/// Keys that need their escapes, in SQL and in URLs.
fn item(seed: u64, number: u64) -> String {
    format!("{seed}-{}", ["plain", "it's, 50% {a/b}", "\\\\back\\nline é"][usize::try_from(number).unwrap()])
}

async fn insert(store: &ClickHouse, definitions: &Definitions, log: &[Logged], token: &str) {
    let layout = Layout::new(definitions);
    let mut rows = Rows::default();
    log.iter().for_each(|(partition, position, event)| layout.push(&mut rows, *partition, *position, event));
    if rows.count() > 0 {
        store.insert(&layout, rows, token).await.unwrap();
    }
}

/// The entries of one key as a view reads them, in log order.
fn entries(definitions: &Definitions, view: usize, key: &KeyText, log: &[Logged]) -> Vec<Entry> {
    let declared = &definitions.views[view];
    let mut entries = Vec::new();
    for (partition, position, event) in log {
        let (_, event_type) = definitions.event(&event.event_type).unwrap();
        let key_of = |index: usize| event.key(&definitions.entities[*event_type.entities.get(index)?].name);
        let Some(route) = event_type.routes.iter().find(|route| route.view == view) else { continue };
        if key_of(route.key) != Some(key) {
            continue;
        }
        let properties = extract::properties(event_type, &event.properties).unwrap();
        let read = |(input, (_, kind)): (&RouteInput, &(_, ValueType))| match input {
            RouteInput::Property(index) => {
                let value = properties[*index].and_then(|raw| Scalar::read(raw.get(), kind).unwrap());
                value.map(Scalar::into_owned)
            }
            RouteInput::Key(index) => key_of(*index).map(|key| match kind {
                ValueType::Int64 => Scalar::Int(key.as_str().parse().unwrap()),
                _ => Scalar::Text(key.parts().remove(0).into()),
            }),
            RouteInput::Absent => None,
        };
        entries.push(Entry {
            time: event.feature_time(*position),
            event_id: event.id.as_str().to_owned(),
            position: *position,
            partition: *partition,
            inputs: route.inputs.iter().zip(&declared.inputs).map(read).collect(),
        });
    }
    entries
}

/// The online path's answer: folded slot by slot, then assembled.
fn online(view: &View, entries: &[Entry], wanted: &[usize], t: i64) -> Vec<FeatureValue> {
    let mut slots: BTreeMap<u16, Slot> = BTreeMap::new();
    for entry in entries {
        let slot = slots.entry(entry.partition.0).or_insert_with(|| Slot::empty(view));
        slot.absorb(view, entry.stamp(), &entry.inputs).unwrap();
    }
    let slots: Vec<Slot> = slots.into_values().collect();
    assemble(view, &slots, wanted, t)
}

fn keys(view: &View, definitions: &Definitions, log: &[Logged], seed: u64) -> Vec<KeyText> {
    let entity = &definitions.entities[view.entity];
    let found: BTreeSet<KeyText> = log.iter().filter_map(|(_, _, event)| event.key(&entity.name).cloned()).collect();
    let unknown = entity.parse_key(if entity.key.len() == 2 { "nobody,7" } else { "999999999" }).unwrap();
    // One asked twice, one that nothing knows.
    let again = found.iter().nth(usize::try_from(seed).unwrap() % found.len().max(1)).cloned();
    found.iter().cloned().chain([unknown]).chain(again).collect()
}

/// Whether both answers are the naive one. Where the value is defined, the twin says what it is; elsewhere (`as_of`
/// before the newest event, too old, unknown) the two engines say the same.
fn agree(expected: &Expected, online: &FeatureValue, offline: &FeatureValue) -> bool {
    if !matches!(online.status, Status::Present | Status::NullValue) {
        return online == offline;
    }
    let alike = (online.status, online.event_time) == (offline.status, offline.event_time);
    let exact = matches!(expected, Expected::Near { .. }) || online == offline;
    alike && exact && expected.is_met_by(&online.value) && expected.is_met_by(&offline.value)
}

/// Asks both and answers how many values were compared.
async fn compare(
    store: &ClickHouse,
    definitions: &Definitions,
    view: usize,
    log: &[Logged],
    keys: &[KeyText],
    scope: &Scope<'_>,
    what: &str,
) -> usize {
    let declared = &definitions.views[view];
    let offline = store.query_features(definitions, declared, keys, scope, TIMEOUT).await.unwrap();
    for (key, offline) in keys.iter().zip(&offline) {
        let entries = entries(definitions, view, key, log);
        let online = online(declared, &entries, scope.wanted, scope.t);
        for ((index, online), offline) in scope.wanted.iter().zip(&online).zip(offline) {
            let name = declared.reference(*index);
            let expected = naive::value(declared, &declared.features[*index], &entries, scope.t);
            assert!(
                agree(&expected, online, offline),
                "{what}: {name} of {key} at {}\n online {online:?}\noffline {offline:?}\n  naive {expected:?}",
                scope.t
            );
        }
    }
    keys.len() * scope.wanted.len()
}

fn newest(log: &[Logged]) -> i64 {
    log.iter().map(|(_, position, event)| event.feature_time(*position)).max().unwrap()
}

/// The number of random logs: each is compared over every aggregate, input and window, which takes the engine long. A soak
/// takes more of them, and `MILLRACE_PARITY_SEEDS` says another number.
fn seeds(test: u64, soak: u64) -> u64 {
    let usual = if std::env::var_os("MILLRACE_SOAK").is_some() { soak } else { test };
    std::env::var("MILLRACE_PARITY_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

#[tokio::test]
async fn the_same_definition_gives_the_same_answer_online_and_in_sql() {
    let (store, _guard) = warehouse("parity").await;
    let definitions = definitions();
    store.apply_definitions(&definitions).await.unwrap();
    let seeds = seeds(4, 48);
    let logs: Vec<Vec<Logged>> = (0..seeds).map(|seed| log(&definitions, seed)).collect();
    let mut compared = 0;
    for (seed, log) in logs.iter().enumerate() {
        insert(&store, &definitions, log, &format!("first-{seed}")).await;
        // The first third of the log is inserted a second time. Each of its events must still count once.
        insert(&store, &definitions, &log[..log.len() / 3], &format!("again-{seed}")).await;
    }
    for (seed, log) in (0u64..).zip(&logs) {
        let mut random = Random::new(seed + 1_000);
        for (view, declared) in definitions.views.iter().enumerate() {
            let keys = keys(declared, &definitions, log, seed);
            let all: Vec<usize> = (0..declared.features.len()).collect();
            let t = newest(log) + [0, 1, 4_000, 25_000, 100_000][random.index(5)];
            let scope = Scope { wanted: &all, t, ..Scope::default() };
            compared += compare(&store, &definitions, view, log, &keys, &scope, &format!("seed {seed}")).await;
            let early = Scope { t: t - 110_000, ..scope };
            compared += compare(&store, &definitions, view, log, &keys, &early, &format!("seed {seed}, early")).await;
        }
    }
    println!("{compared} values compared over {seeds} seeds");
}

#[tokio::test]
async fn what_was_known_at_a_position_or_a_time_is_what_would_have_been_served_then() {
    let (store, _guard) = warehouse("parity_known").await;
    let definitions = definitions();
    store.apply_definitions(&definitions).await.unwrap();
    for seed in 100..100 + seeds(2, 24) {
        let log = log(&definitions, seed);
        insert(&store, &definitions, &log, &format!("{seed}")).await;
        let cut = log.len() / 2;
        let known: Vec<Known> = (0..PARTITIONS)
            .filter_map(|p| log[..cut].iter().rfind(|(partition, ..)| partition.0 == p))
            .map(|(partition, upto, _)| Known { partition: *partition, after: Position::ZERO, upto: *upto })
            .collect();
        let after: Vec<Known> =
            known.iter().map(|k| Known { after: k.upto, upto: Position::new(u64::MAX, u64::MAX), ..*k }).collect();
        let later =
            |(partition, position, _): &&Logged| after.iter().any(|k| k.partition == *partition && *position > k.after);
        let tail: Vec<Logged> = log.iter().filter(later).cloned().collect();
        let middle = log[cut].1.ms;
        let arrived: Vec<Logged> = log.iter().filter(|(_, position, _)| position.ms <= middle).cloned().collect();
        let t = newest(&log) - 30_000;
        let past: Vec<Logged> =
            log.iter().filter(|(_, position, event)| event.feature_time(*position) <= t).cloned().collect();
        for (view, declared) in definitions.views.iter().enumerate() {
            let keys = keys(declared, &definitions, &log, seed);
            let wanted: Vec<usize> = (0..declared.features.len()).collect();
            let scope = Scope { wanted: &wanted, t: newest(&log) + 3_000, ..Scope::default() };
            let upto = Scope { known: Some(&known), ..scope };
            compare(&store, &definitions, view, &log[..cut], &keys, &upto, "up to positions").await;
            let from = Scope { known: Some(&after), ..scope };
            compare(&store, &definitions, view, &tail, &keys, &from, "after positions").await;
            let at = Scope { known_at: Some(i64::try_from(middle).unwrap()), ..scope };
            compare(&store, &definitions, view, &arrived, &keys, &at, "known at").await;
            let point = Scope { point_in_time: true, t, ..scope };
            compare(&store, &definitions, view, &past, &keys, &point, "point in time").await;
        }
    }
}

#[tokio::test]
async fn sql_leaves_out_what_a_view_has_left_out() {
    let (store, _guard) = warehouse("parity_dead").await;
    let definitions = definitions();
    store.apply_definitions(&definitions).await.unwrap();
    let log = log(&definitions, 200);
    insert(&store, &definitions, &log, "all").await;
    let left_out: Vec<&Logged> = log.iter().step_by(3).collect();
    for (number, (partition, position, _)) in left_out.iter().enumerate() {
        let letter = DeadLetter {
            group: "online".into(),
            sink: "redis".into(),
            view: Some("by_user@1".into()),
            position: *position,
            ..DeadLetter::default()
        };
        let place = Position::new(5, u64::try_from(number).unwrap());
        store.insert_dead_letters(*partition, &[(place, letter)]).await.unwrap();
    }
    let rest: Vec<Logged> = log.iter().filter(|entry| !left_out.contains(entry)).cloned().collect();
    let wanted: Vec<usize> = (0..definitions.views[0].features.len()).collect();
    let scope = Scope { wanted: &wanted, t: newest(&log), without_dead_letters_of: Some("redis"), ..Scope::default() };
    let keys = keys(&definitions.views[0], &definitions, &log, 0);
    compare(&store, &definitions, 0, &rest, &keys, &scope, "dead letters").await;
    let other = Scope { without_dead_letters_of: Some("mongodb"), ..scope };
    compare(&store, &definitions, 0, &log, &keys, &other, "another sink's").await;
}

/// Logs whose entries lie a gap apart or a millisecond more, and late by the allowed lateness or a millisecond more.
#[tokio::test]
async fn sessions_in_sql_are_the_naive_ones() {
    let (store, _guard) = warehouse("parity_sessions").await;
    let (definitions, users) = (session_definitions(), 0..40u64);
    store.apply_definitions(&definitions).await.unwrap();
    let mut random = Random::new(7);
    let log: Vec<Logged> = users.clone().flat_map(|user| session_log(&definitions, &mut random, user)).collect();
    insert(&store, &definitions, &log, "sessions").await;
    let keys: Vec<KeyText> = users.map(|user| KeyText::from_canonical(&user.to_string())).collect();
    let mut open = 0;
    for (view, declared) in definitions.views.iter().enumerate() {
        let wanted: Vec<usize> = (0..declared.features.len()).collect();
        for later in [0, 1_000, SESSION_GAP, SESSION_GAP + 1] {
            let scope = Scope { wanted: &wanted, t: SESSION_END + later, ..Scope::default() };
            compare(&store, &definitions, view, &log, &keys, &scope, &format!("{later} ms later")).await;
        }
        // The law would be empty if every session held one entry, or every entry.
        for key in &keys {
            let entries = entries(&definitions, view, key, &log);
            let held = naive::counting(declared.windows[0].window, &entries, SESSION_END).len();
            open += usize::from(held > 1 && held < entries.len());
        }
    }
    assert!(open > keys.len(), "{open} of {} keys have a session with a boundary inside the log", keys.len());
}

const SESSION_GAP: i64 = 2_000;
/// The last entry of each key counts at this time.
const SESSION_END: i64 = NOW - 1_000;

fn session_definitions() -> Definitions {
    let view = |lateness: &str| {
        let features: Vec<String> = ["count", "sum", "min", "first", "last", "last_n, n: 3", "distinct_count"]
            .iter()
            .map(|agg| {
                let name = agg.split(',').next().unwrap();
                format!("{{ name: {name}, agg: {agg}, value: properties.x, type: int64, window: {{ session: 2s }} }}")
            })
            .collect();
        format!(
            "  - name: late_{lateness}\n    entity: user\n    from: [click]\n    lateness: {lateness}\n    features: [{}]\n",
            features.join(", ")
        )
    };
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n{}",
        ["1s", "2s", "9s"].map(view).concat()
    );
    Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() }).unwrap()
}

/// Backwards from the end in steps around the gap, then shuffled by moving entries back in the log.
fn session_log(definitions: &Definitions, random: &mut Random, user: u64) -> Vec<Logged> {
    let mut time = SESSION_END;
    let mut times = vec![time];
    for _ in 0..random.below(20) + 4 {
        time -= [0, 1, 500, 999, 1_000, 1_001, SESSION_GAP - 1, SESSION_GAP, SESSION_GAP + 1][random.index(9)];
        times.push(time);
    }
    times.reverse();
    for _ in 0..times.len() / 3 {
        let (from, to) = (random.index(times.len()), random.index(times.len()));
        let moved = times.remove(from);
        times.insert(to.max(from), moved);
    }
    let entry = |(number, time): (u64, i64)| {
        let text = format!(
            "{{\"type\":\"click\",\"id\":\"e{number}\",\"time\":{time},\"user_id\":{user},\"properties\":{{\"x\":{}}}}}",
            random.below(5)
        );
        let made = || EventId::Made("never".into());
        let event = RawEvent::parse(&text, EventForm::Nested).unwrap().validate(definitions, NOW, made).unwrap();
        (event.partition(PARTITIONS), Position::new(NOW as u64 + user, number), event)
    };
    (0..).zip(times).map(entry).collect()
}

#[tokio::test]
async fn more_distinct_values_than_are_exact_is_an_error_in_sql_too() {
    let (store, _guard) = warehouse("parity_distinct").await;
    let yaml = "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }\nviews:\n  \
         - { name: v, entity: user, from: [click], features: [{ name: n, agg: distinct_count, value: properties.n, type: int64 }] }";
    let definitions = Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: BTreeMap::new() }).unwrap();
    store.apply_definitions(&definitions).await.unwrap();
    let event = |user: u64, n: u64| {
        let text = format!("{{\"type\":\"click\",\"user_id\":{user},\"properties\":{{\"n\":{n}}}}}");
        let event = RawEvent::parse(&text, EventForm::Nested)
            .unwrap()
            .validate(&definitions, NOW, || EventId::Made("x".into()))
            .unwrap();
        (Partition(0), Position::new(NOW as u64, user << 32 | n), event)
    };
    let log: Vec<Logged> = (0..65_536).map(|n| event(1, n)).chain((0..65_537).map(|n| event(2, n))).collect();
    insert(&store, &definitions, &log, "all").await;
    let keys = ["1", "2"].map(KeyText::from_canonical);
    let scope = Scope { wanted: &[0], t: NOW, ..Scope::default() };
    let answers = store.query_features(&definitions, &definitions.views[0], &keys, &scope, TIMEOUT).await.unwrap();
    assert_eq!((answers[0][0].status, &answers[0][0].value), (Status::Present, &Value::from(65_536)));
    assert_eq!(answers[1][0].status, Status::Error);
    assert_eq!(answers[1][0].reason.as_deref(), Some("more than 65536 distinct values"));
}

/// Ingest refuses it; one from before the view was applied is in the log all the same.
#[tokio::test]
async fn a_text_that_is_too_long_for_a_view_is_none_in_sql_too() {
    let (store, _guard) = warehouse("parity_long").await;
    let yaml = "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }\nviews:\n  \
         - { name: v, entity: user, store: clickhouse, from: [click], features: [\n    \
             { name: last, agg: last, value: properties.x, type: string }, { name: max, agg: max, value: properties.x, type: string },\n    \
             { name: all, agg: last_n, n: 9, value: properties.x, type: string }, { name: n, agg: count, value: properties.x, type: string }] }";
    let definitions = Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: BTreeMap::new() }).unwrap();
    store.apply_definitions(&definitions).await.unwrap();
    let longest = |character: &str| character.repeat(MAX_TEXT_BYTES / character.len());
    let texts = ["a".to_owned(), longest("b"), longest("é"), longest("c") + "c", longest("é") + "x"];
    let log: Vec<Logged> = texts.iter().zip(0..).map(|(text, number)| long_text(text, number)).collect();
    insert(&store, &definitions, &log, "all").await;
    let view = &definitions.views[0];
    let mut slot = Slot::empty(view);
    for ((_, position, event), text) in log.iter().zip(&texts) {
        let text = Value::from(text.as_str()).to_string();
        let inputs = [Scalar::read(&text, &ValueType::String).ok().flatten()];
        let (feature_time, event_id) = (event.feature_time(*position), event.id.as_str());
        let stamp = Stamp { feature_time, event_id, position: *position, partition: Partition(0) };
        slot.absorb(view, stamp, &inputs).unwrap();
    }
    let wanted = [0, 1, 2, 3];
    let scope = Scope { wanted: &wanted, t: NOW, ..Scope::default() };
    let keys = [KeyText::from_canonical("1")];
    let answers = store.query_features(&definitions, view, &keys, &scope, TIMEOUT).await.unwrap();
    assert_eq!(answers[0], assemble(view, &[slot], &wanted, NOW));
    assert_eq!((&answers[0][0].value, &answers[0][3].value), (&Value::from(texts[2].as_str()), &Value::from(3)));
}

fn long_text(text: &str, number: u64) -> Logged {
    let event = Event {
        event_type: "click".into(),
        source: String::new(),
        id: EventId::Given(number.to_string()),
        time: None,
        keys: vec![("user".into(), KeyText::from_canonical("1"))],
        properties: serde_json::json!({ "x": text }).to_string(),
        traceparent: None,
    };
    (Partition(0), Position::new(NOW as u64 - 100 + number, 0), event)
}
