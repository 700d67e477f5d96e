//! The laws of the algebra, against the naive twin that recomputes from the list of entries: any batch split, any
//! redelivery from any earlier position and any merge order of slots give the naive answer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use millrace_core::aggregate::{Aggregate, AggregateState, At, FinishError, Stamp};
use millrace_core::assemble::{Status, assemble, newest};
use millrace_core::codec;
use millrace_core::definitions::{DefinitionErrors, Definitions, DefinitionsSource, ValueType, View};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::naive::{self, Entry};

const PARTITIONS: u16 = 3;

const WINDOWS: [&str; 5] = ["lifetime", "20s", "{ sliding: 60s, hop: 7s }", "{ tumbling: 30s }", "{ session: 5s }"];
const TYPES: [(&str, &str); 4] =
    [("int", "int64"), ("money", "\"decimal(18,2)\""), ("float", "float64"), ("text", "string")];

/// Every aggregate over every window, with each type that it takes. `known` has one slot and so can have sessions, `all` has a
/// slot for each partition, and the features of `exact` do not round.
static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
    let (mut known, mut all, mut exact) = (String::new(), String::new(), String::new());
    for (e, example) in Aggregate::EXAMPLES.concat().iter().enumerate() {
        for (name, kind) in TYPES {
            for (w, window) in WINDOWS.iter().enumerate() {
                let line = format!(
                    "      - {{ name: f{e}_{w}_{name}, {example}, value: properties.{name}, type: {kind}, window: {window} }}\n"
                );
                let Ok(alone) = compile(&line, "", "") else { continue };
                known.push_str(&line);
                if !window.contains("session") {
                    all.push_str(&line);
                    if naive::is_exact(&alone.views[0], &alone.views[0].features[0]) {
                        exact.push_str(&line);
                    }
                }
            }
        }
    }
    compile(&known, &all, &exact).unwrap()
});

fn compile(known: &str, all: &str, exact: &str) -> Result<Definitions, DefinitionErrors> {
    let view = |name: &str, entity: &str, features: &str| match features {
        "" => String::new(),
        _ => format!(
            "  - name: {name}\n    entity: {entity}\n    from: [click]\n    lateness: 8s\n    features:\n{features}"
        ),
    };
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }}, item: {{ key: item_id, type: int64 }} }}\n\
         events: {{ click: {{ partition_by: user, entities: [item] }} }}\nviews:\n{}{}{}",
        view("known", "user", known),
        view("all", "item", all),
        view("exact", "item", exact)
    );
    Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() })
}

/// One random event of one key.
#[derive(Clone, Debug)]
struct Event {
    time: i64,
    id: String,
    partition: u16,
    position: Position,
    int: Option<i64>,
    money: Option<i64>,
    float: Option<f64>,
    text: Option<String>,
}

impl Event {
    fn entry(&self, view: &View) -> Entry {
        let read = |kind: String| match kind.as_str() {
            "int64" => self.int.map(Scalar::Int),
            "float64" => self.float.map(Scalar::Float),
            "string" => self.text.clone().map(|text| Scalar::Text(text.into())),
            _ => self.money.map(|units| Scalar::Decimal(i128::from(units))),
        };
        Entry {
            time: self.time,
            event_id: self.id.clone(),
            position: self.position,
            partition: Partition(self.partition),
            inputs: view.inputs.iter().map(|(_, kind)| read(kind.to_string())).collect(),
        }
    }
}

fn entries(view: &View, events: &[Event]) -> Vec<Entry> {
    events.iter().map(|event| event.entry(view)).collect()
}

/// Floats of moderate sizes, most of them without a short binary fraction, so that sums do round.
fn float() -> impl Strategy<Value = f64> {
    prop_oneof![(-1_000_000i32..1_000_000).prop_map(|units| f64::from(units) / 1_000.0), -1e6..1e6]
}

fn events(partitions: u16) -> impl Strategy<Value = Vec<Event>> {
    let values = (any::<Option<i8>>(), any::<Option<i16>>(), proptest::option::of(float()), any::<Option<u8>>());
    let one = (0i64..120_000, 0u8..5, 0..partitions, 0u64..3, values);
    proptest::collection::vec(one, 1..60).prop_map(|raw| {
        let mut ms = 200_000;
        raw.into_iter()
            .map(|(time, id, partition, step, (int, money, float, text))| {
                ms += step;
                Event {
                    time: time / 500 * 500,
                    id: format!("e{id}"),
                    partition,
                    position: Position::new(ms, if step == 0 { 1 } else { 0 }),
                    int: int.map(i64::from),
                    money: money.map(i64::from),
                    float,
                    text: text.map(|text| format!("t{}", text % 6)),
                }
            })
            .scan(Vec::<(u16, Position)>::new(), |last, mut event| {
                // Positions grow strictly within a partition; across partitions they may be equal.
                if let Some((_, before)) = last.iter().rev().find(|(partition, _)| *partition == event.partition)
                    && event.position <= *before
                {
                    event.position = before.next();
                }
                last.push((event.partition, event.position));
                Some(event)
            })
            .collect()
    })
}

/// The fold in log order, per partition.
fn slots(view: &View, entries: &[Entry]) -> Vec<Slot> {
    (0..PARTITIONS)
        .map(|partition| {
            let mut slot = Slot::empty(view);
            for entry in entries.iter().filter(|entry| entry.partition.0 == partition) {
                slot.absorb(view, entry.stamp(), &entry.inputs).unwrap();
            }
            slot
        })
        .filter(|slot| slot.newest.is_some())
        .collect()
}

fn check(view: &View, slots: &[Slot], entries: &[Entry], t: i64) -> Result<(), TestCaseError> {
    let wanted: Vec<usize> = (0..view.features.len()).collect();
    for (feature, answer) in view.features.iter().zip(assemble(view, slots, &wanted, t)) {
        let expected = naive::value(view, feature, entries, t);
        let window = view.windows[feature.window].window;
        prop_assert!(
            expected.is_met_by(&answer.value),
            "{} over {:?} at {}: {:?}, expected {:?}",
            feature.name,
            window,
            t,
            answer.value,
            expected
        );
        let status = if expected.is_null() { Status::NullValue } else { Status::Present };
        prop_assert_eq!(answer.status, status);
    }
    Ok(())
}

/// That number of cases for each law, or what `PROPTEST_CASES` says in a soak.
fn cases(usual: u32) -> ProptestConfig {
    let told = std::env::var_os("PROPTEST_CASES").is_some();
    if told { ProptestConfig::default() } else { ProptestConfig::with_cases(usual) }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn the_value_at_t_is_the_naive_one(events in events(PARTITIONS), later in 0i64..100_000) {
        let view = &DEFINITIONS.views[1];
        let entries = entries(view, &events);
        let slots = slots(view, &entries);
        let t = newest(&slots).unwrap() + later;
        check(view, &slots, &entries, t)?;
    }

    #[test]
    fn slots_merge_in_any_order(events in events(PARTITIONS), later in 0i64..100_000, rotate in 0usize..3) {
        let view = &DEFINITIONS.views[1];
        let entries = entries(view, &events);
        let mut slots = slots(view, &entries);
        let t = newest(&slots).unwrap() + later;
        let turn = rotate % slots.len();
        slots.rotate_left(turn);
        check(view, &slots, &entries, t)?;
        slots.reverse();
        check(view, &slots, &entries, t)?;
    }

    #[test]
    fn sessions_are_the_naive_ones(events in events(1), later in 0i64..10_000) {
        let view = &DEFINITIONS.views[0];
        let entries = entries(view, &events);
        let slots = slots(view, &entries);
        let t = newest(&slots).unwrap() + later;
        check(view, &slots, &entries, t)?;
    }

    /// Any batch split, a crash after any batch, and redelivery from any earlier position change nothing; nor does
    /// writing the slot down and reading it back in between.
    #[test]
    fn redelivery_changes_nothing(events in events(1), cuts in proptest::collection::vec((0usize..60, 0usize..60), 0..6)) {
        let view = &DEFINITIONS.views[0];
        let entries = entries(view, &events);
        let expected = slots(view, &entries).remove(0);
        let mut slot = Slot::empty(view);
        for (upto, back) in cuts {
            let upto = upto.min(entries.len());
            for entry in &entries[back.min(upto)..upto] {
                // A worker never reads past what it has not absorbed: skip what would leave a gap.
                let next = entries.iter().position(|e| e.position > slot.checkpoint.position).unwrap_or(entries.len());
                if entry.position <= entries.get(next).map_or(entry.position, |e| e.position) {
                    slot.absorb(view, entry.stamp(), &entry.inputs).unwrap();
                }
            }
            slot = codec::decode_for(view, &codec::encode(&slot)).unwrap();
        }
        for entry in &entries {
            slot.absorb(view, entry.stamp(), &entry.inputs).unwrap();
        }
        prop_assert!(codec::encode(&slot).len() as u64 <= codec::max_bytes(view));
        prop_assert_eq!(codec::encode(&slot), codec::encode(&expected));
        prop_assert_eq!(slot, expected);
    }

    /// For windows without sessions the order of arrival does not matter either. Sums of floats round in the order of
    /// arrival, so only the laws above hold for them.
    #[test]
    fn any_order_gives_the_same_windows(events in events(1), seed in any::<u64>()) {
        let view = &DEFINITIONS.views[2];
        let entries = entries(view, &events);
        let expected = slots(view, &entries);
        let mut shuffled = entries.clone();
        let mut state = seed | 1;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        let mut slot = Slot::empty(view);
        for entry in &shuffled {
            slot.checkpoint.position = Position::ZERO;
            slot.absorb(view, entry.stamp(), &entry.inputs).unwrap();
        }
        prop_assert_eq!(&slot.windows, &expected[0].windows);
    }
}

#[test]
fn past_the_exact_range_a_distinct_count_says_so() {
    let yaml = "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }\nviews:\n  \
                - { name: v, entity: user, from: [click], features: [{ name: n, agg: distinct_count, value: properties.x, type: int64 }] }";
    let definitions = Definitions::compile(DefinitionsSource { yaml: yaml.into(), schemas: BTreeMap::new() }).unwrap();
    let view = &definitions.views[0];
    let mut slot = Slot::empty(view);
    for value in 0..=65_536i64 {
        let at = Stamp {
            feature_time: 1,
            event_id: "",
            position: Position::new(1, value as u64 + 1),
            partition: Partition(0),
        };
        if value == 65_536 {
            assert_eq!(assemble(view, &[slot.clone()], &[0], 1)[0].value, json!(65_536));
        }
        slot.absorb(view, at, &[Some(Scalar::Int(value))]).unwrap();
    }
    let answer = &assemble(view, &[slot], &[0], 1)[0];
    assert_eq!((answer.status, answer.value.clone()), (Status::Error, Value::Null));
    assert_eq!(answer.reason.as_deref(), Some("more than 65536 distinct values"));
}

/// The view of one feature.
fn alone(agg: &str, kind: &str) -> View {
    let line = format!("      - {{ name: f, agg: {agg}, value: properties.x, type: \"{kind}\" }}\n");
    compile(&line, "", "").unwrap().views.remove(0)
}

/// The finished value of an aggregate over these values, and its state.
fn finished(view: &View, values: &[i128]) -> (Result<Option<Value>, FinishError>, AggregateState) {
    let aggregate = &view.features[0].aggregate;
    let mut state = aggregate.empty();
    for (value, number) in values.iter().zip(1..) {
        let position = Position::new(1, number);
        let stamp = Stamp { feature_time: 1, event_id: "", position, partition: Partition(0) };
        let value = match view.inputs[0].1 {
            ValueType::Int64 => Scalar::Int(i64::try_from(*value).unwrap()),
            _ => Scalar::Decimal(*value),
        };
        aggregate.absorb(&mut state, stamp, &value).unwrap();
    }
    (aggregate.finish(&state, AT), state)
}

const AT: At = At { t: 1, window_start: None, newest: 1 };

#[test]
fn a_variance_keeps_what_floats_would_lose() {
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    for (agg, values, expected) in [
        ("var_pop", vec![], None),
        ("var_samp", vec![], None),
        ("var_pop", vec![7], Some(0.0)),
        ("var_samp", vec![7], None),
        ("stddev_pop", vec![-7], Some(0.0)),
        ("stddev_samp", vec![-7], None),
        ("var_pop", vec![most, most - 2], Some(1.0)),
        ("var_samp", vec![most, most - 2], Some(2.0)),
        ("stddev_pop", vec![least, least + 4], Some(2.0)),
        ("stddev_samp", vec![2, 4, 4, 4, 5, 5, 7, 9], Some((32.0f64 / 7.0).sqrt())),
        ("stddev_pop", vec![least, most], Some(9_223_372_036_854_775_807.5)),
    ] {
        assert_eq!(
            finished(&alone(agg, "int64"), &values).0,
            Ok(expected.map(|value| json!(value))),
            "{agg} {values:?}"
        );
    }
    let most = 10i128.pow(28) - 1;
    let (value, _) = finished(&alone("var_pop", "decimal(28,2)"), &[most, most - 100]);
    assert_eq!(value, Ok(Some(json!(0.25))));
}

/// Two large values, doubled until the count passes 64 bits: each answer is the exact variance or an error.
#[test]
fn past_the_exact_range_a_variance_says_so() {
    let most = 10i128.pow(28) - 1;
    for (kind, large, exact_doublings) in [("int64", i128::from(i64::MAX), 62), ("decimal(28,0)", most, 33)] {
        for (other, variance) in [(large, 0.0), (-large, (large as f64).powi(2))] {
            let view = alone("var_pop", kind);
            let aggregate = &view.features[0].aggregate;
            let (_, mut state) = finished(&view, &[large, other]);
            for doubling in 1..=70 {
                let same = state.clone();
                aggregate.merge(&mut state, &same).unwrap();
                match aggregate.finish(&state, AT) {
                    Ok(value) => {
                        let value = value.unwrap().as_f64().unwrap();
                        assert!((value - variance).abs() <= 1e-12 * variance, "{value} of {kind}");
                        assert!(doubling <= exact_doublings, "{doubling} of {kind}");
                    }
                    Err(error) => {
                        assert_eq!(error, FinishError::TooManyToSquare);
                        assert!(doubling > exact_doublings, "{doubling} of {kind}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_variance_of_floats_is_refused() {
    for agg in ["var_pop", "var_samp", "stddev_pop", "stddev_samp"] {
        let line = format!("      - {{ name: f, agg: {agg}, value: properties.x, type: float64 }}\n");
        let error = compile(&line, "", "").unwrap_err().to_string();
        assert!(error.contains(&format!("`{agg}` cannot read values of type float64")), "{error}");
    }
}
