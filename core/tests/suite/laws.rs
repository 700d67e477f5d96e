//! The laws of the algebra, against the obvious twin that recomputes from the list of entries: any batch split, any
//! redelivery from any earlier position and any merge order of slots give the naive answer.

use std::collections::BTreeMap;

use millrace_core::aggregate::Stamp;
use millrace_core::assemble::{Status, assemble, newest};
use millrace_core::codec;
use millrace_core::definitions::{Aggregation, Definitions, DefinitionsSource, Feature, View, Window};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;
use proptest::prelude::*;
use serde_json::{Value, json};

const PARTITIONS: u16 = 3;

fn definitions() -> Definitions {
    let aggregations = ["count", "sum", "mean", "min", "max", "first", "last", "distinct_count", "last_n, n: 3"];
    let feature = |name: &str, agg: &str, window: &str, kind: &str| {
        format!(
            "      - {{ name: {name}, agg: {agg}, value: properties.{kind}, type: {}, window: {window} }}\n",
            match kind {
                "int" => "int64",
                "money" => "\"decimal(18,2)\"",
                _ => "string",
            }
        )
    };
    let mut known = String::new();
    let mut all = String::new();
    for (index, agg) in aggregations.iter().enumerate() {
        for (at, window) in
            ["lifetime", "20s", "{ sliding: 60s, hop: 7s }", "{ tumbling: 30s }", "{ session: 5s }"].iter().enumerate()
        {
            for kind in ["int", "money", "text"] {
                if kind == "text" && (*agg == "sum" || *agg == "mean") {
                    continue;
                }
                let line = feature(&format!("f{index}_{at}_{kind}"), agg, window, kind);
                known.push_str(&line);
                if !window.contains("session") {
                    all.push_str(&line);
                }
            }
        }
    }
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }}, item: {{ key: item_id, type: int64 }} }}\n\
         events: {{ click: {{ partition_by: user, entities: [item] }} }}\nviews:\n  \
         - name: known\n    entity: user\n    from: [click]\n    lateness: 8s\n    features:\n{known}  \
         - name: all\n    entity: item\n    from: [click]\n    features:\n{all}"
    );
    Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() }).unwrap()
}

/// One entry for one key, as a view takes it.
#[derive(Clone, Debug)]
struct Event {
    time: i64,
    id: String,
    partition: u16,
    position: Position,
    int: Option<i64>,
    money: Option<i64>,
    text: Option<String>,
}

impl Event {
    fn stamp(&self) -> Stamp<'_> {
        let partition = Partition(self.partition);
        Stamp { feature_time: self.time, event_id: &self.id, position: self.position, partition }
    }

    fn inputs(&self, view: &View) -> Vec<Option<Scalar<'static>>> {
        let read = |kind: String| match kind.as_str() {
            "int64" => self.int.map(Scalar::Int),
            "string" => self.text.clone().map(|text| Scalar::Text(text.into())),
            _ => self.money.map(|units| Scalar::Decimal(i128::from(units))),
        };
        view.inputs.iter().map(|(_, kind)| read(kind.to_string())).collect()
    }
}

fn events(partitions: u16) -> impl Strategy<Value = Vec<Event>> {
    let one =
        (0i64..120_000, 0u8..5, 0..partitions, 0u64..3, any::<Option<i8>>(), any::<Option<i16>>(), any::<Option<u8>>());
    proptest::collection::vec(one, 1..60).prop_map(|raw| {
        let mut ms = 200_000;
        raw.into_iter()
            .map(|(time, id, partition, step, int, money, text)| {
                ms += step;
                Event {
                    time: time / 500 * 500,
                    id: format!("e{id}"),
                    partition,
                    position: Position::new(ms, if step == 0 { 1 } else { 0 }),
                    int: int.map(i64::from),
                    money: money.map(i64::from),
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
fn slots(view: &View, events: &[Event]) -> Vec<Slot> {
    (0..PARTITIONS)
        .map(|partition| {
            let mut slot = Slot::empty(view);
            for event in events.iter().filter(|event| event.partition == partition) {
                slot.absorb(view, event.stamp(), &event.inputs(view));
            }
            slot
        })
        .filter(|slot| slot.newest.is_some())
        .collect()
}

/// The naive twin: which events count in the window at `t`, in order of their stamps.
fn counting(window: Window, events: &[Event], t: i64) -> Vec<&Event> {
    let mut chosen: Vec<&Event> = match window {
        Window::Lifetime => events.iter().collect(),
        Window::Sliding { size, hop } => {
            let from = (t - size).div_euclid(hop) * hop;
            events.iter().filter(|event| event.time >= from && event.time <= t).collect()
        }
        Window::Session { gap, lateness } => {
            let mut newest = i64::MIN;
            let mut kept: Vec<&Event> = Vec::new();
            for event in events {
                if newest == i64::MIN || event.time >= newest - lateness {
                    kept.push(event);
                }
                newest = newest.max(event.time);
            }
            kept.sort_by_key(|event| event.time);
            let mut last: Vec<&Event> = Vec::new();
            for event in kept {
                if last.last().is_some_and(|before| event.time - before.time > gap) {
                    last.clear();
                }
                last.push(event);
            }
            if last.last().is_none_or(|end| t - end.time > gap) { Vec::new() } else { last }
        }
    };
    chosen.sort_by(|a, b| a.stamp().cmp(&b.stamp()));
    chosen
}

fn naive(view: &View, feature: &Feature, events: &[Event], t: i64) -> Value {
    let window = view.windows[feature.window].window;
    let (_, kind) = &view.inputs[feature.input.unwrap()];
    let values: Vec<Scalar<'static>> = counting(window, events, t)
        .into_iter()
        .filter_map(|event| event.inputs(view)[feature.input.unwrap()].clone())
        .collect();
    let units = |scalar: &Scalar<'_>| match scalar {
        Scalar::Int(value) => i128::from(*value),
        Scalar::Decimal(units) => *units,
        _ => unreachable!(),
    };
    let json = |scalar: &Scalar<'_>| scalar.to_json(kind);
    match feature.aggregation {
        Aggregation::Count => json!(values.len()),
        Aggregation::Sum => Scalar::Decimal(values.iter().map(units).sum()).to_json(kind),
        Aggregation::Mean if values.is_empty() => Value::Null,
        Aggregation::Mean => {
            let scale = if kind.to_string() == "int64" { 1.0 } else { 100.0 };
            json!(values.iter().map(units).sum::<i128>() as f64 / scale / values.len() as f64)
        }
        Aggregation::Min => values.iter().min_by(|a, b| a.order(b)).map_or(Value::Null, json),
        Aggregation::Max => values.iter().max_by(|a, b| a.order(b)).map_or(Value::Null, json),
        Aggregation::First => values.first().map_or(Value::Null, json),
        Aggregation::Last => values.last().map_or(Value::Null, json),
        Aggregation::LastN(_) if values.is_empty() => Value::Null,
        Aggregation::LastN(n) => values.iter().rev().take(n as usize).map(json).collect(),
        Aggregation::DistinctCount => {
            let mut distinct: Vec<Value> = values.iter().map(json).collect();
            distinct.sort_by_key(Value::to_string);
            distinct.dedup();
            json!(distinct.len())
        }
    }
}

fn check(view: &View, slots: &[Slot], events: &[Event], t: i64) -> Result<(), TestCaseError> {
    let wanted: Vec<usize> = (0..view.features.len()).collect();
    for (feature, answer) in view.features.iter().zip(assemble(view, slots, &wanted, t)) {
        let expected = naive(view, feature, events, t);
        let window = view.windows[feature.window].window;
        prop_assert_eq!(&answer.value, &expected, "{} over {:?} at {}", feature.name, window, t);
        let status = if expected.is_null() { Status::NullValue } else { Status::Present };
        prop_assert_eq!(answer.status, status);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_value_at_t_is_the_naive_one(events in events(PARTITIONS), later in 0i64..100_000) {
        let definitions = definitions();
        let view = &definitions.views[1];
        let slots = slots(view, &events);
        let t = newest(&slots).unwrap() + later;
        check(view, &slots, &events, t)?;
    }

    #[test]
    fn slots_merge_in_any_order(events in events(PARTITIONS), later in 0i64..100_000, rotate in 0usize..3) {
        let definitions = definitions();
        let view = &definitions.views[1];
        let mut slots = slots(view, &events);
        let t = newest(&slots).unwrap() + later;
        let turn = rotate % slots.len();
        slots.rotate_left(turn);
        check(view, &slots, &events, t)?;
        slots.reverse();
        check(view, &slots, &events, t)?;
    }

    #[test]
    fn sessions_are_the_naive_ones(events in events(1), later in 0i64..10_000) {
        let definitions = definitions();
        let view = &definitions.views[0];
        let slots = slots(view, &events);
        let t = newest(&slots).unwrap() + later;
        check(view, &slots, &events, t)?;
    }

    /// Any batch split, a crash after any batch, and redelivery from any earlier position change nothing; nor does
    /// writing the slot down and reading it back in between.
    #[test]
    fn redelivery_changes_nothing(events in events(1), cuts in proptest::collection::vec((0usize..60, 0usize..60), 0..6)) {
        let definitions = definitions();
        let view = &definitions.views[0];
        let expected = slots(view, &events).remove(0);
        let mut slot = Slot::empty(view);
        for (upto, back) in cuts {
            let upto = upto.min(events.len());
            for event in &events[back.min(upto)..upto] {
                // A worker never reads past what it has not absorbed: skip what would leave a gap.
                let next = events.iter().position(|e| e.position > slot.checkpoint.position).unwrap_or(events.len());
                if event.position <= events.get(next).map_or(event.position, |e| e.position) {
                    slot.absorb(view, event.stamp(), &event.inputs(view));
                }
            }
            slot = codec::decode_for(view, &codec::encode(&slot)).unwrap();
        }
        for event in &events {
            slot.absorb(view, event.stamp(), &event.inputs(view));
        }
        prop_assert!(codec::encode(&slot).len() as u64 <= codec::max_bytes(view));
        prop_assert_eq!(codec::encode(&slot), codec::encode(&expected));
        prop_assert_eq!(slot, expected);
    }

    /// For windows without sessions the order of arrival does not matter either.
    #[test]
    fn any_order_gives_the_same_windows(events in events(1), seed in any::<u64>()) {
        let definitions = definitions();
        let view = &definitions.views[1];
        let expected = slots(view, &events);
        let mut shuffled = events.clone();
        let mut state = seed | 1;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        let mut slot = Slot::empty(view);
        for event in &shuffled {
            slot.checkpoint.position = Position::ZERO;
            slot.absorb(view, event.stamp(), &event.inputs(view));
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
        slot.absorb(view, at, &[Some(Scalar::Int(value))]);
    }
    let answer = &assemble(view, &[slot], &[0], 1)[0];
    assert_eq!((answer.status, answer.value.clone()), (Status::Error, Value::Null));
    assert_eq!(answer.reason.as_deref(), Some("more than 65536 distinct values"));
}

/// The longest values, ids and numbers, in every tile that can be at once: what the definition allows and no more.
#[test]
fn no_slot_outgrows_what_its_definition_says() {
    let kinds = ["string", "list<string>", "vector(40)", "\"decimal(38,2)\"", "int64", "float64", "bool"];
    let windows = ["lifetime", "{ sliding: 60s, hop: 7s }", "{ tumbling: 30s }", "{ session: 5s }"];
    let mut features = String::new();
    for (at, window) in windows.iter().enumerate() {
        features.push_str(&format!("      - {{ name: n_{at}, agg: count, window: {window} }}\n"));
        for (kind, name) in kinds.iter().enumerate() {
            for agg in ["count", "min", "sum", "mean", "first", "last", "last_n, n: 4", "distinct_count"] {
                let short = agg.split(',').next().unwrap();
                features.push_str(&format!(
                    "      - {{ name: {short}_{kind}_{at}, agg: {agg}, value: properties.p{kind}, type: {name}, window: {window} }}\n"
                ));
            }
        }
    }
    let features: Vec<&str> = features.lines().collect();
    // Each aggregation with the types that it takes.
    let yaml = |features: &[&str]| {
        format!(
            "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
             - name: v\n    entity: user\n    from: [click]\n    lateness: 20s\n    features:\n{}",
            features.join("\n")
        )
    };
    let compile = |yaml: String| Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() });
    let taken: Vec<&str> = features.into_iter().filter(|line| compile(yaml(&[line])).is_ok()).collect();
    let definitions = compile(yaml(&taken)).unwrap();
    let view = &definitions.views[0];
    assert!(view.features.len() > 4 * 30, "{}", view.features.len());

    let mut slot = Slot::empty(view);
    let mut largest = 0;
    for number in 0..2_000u64 {
        let text = format!("{number:08}").repeat(2_048);
        let read = |text: String, kind: &_| Scalar::read(&text, kind).unwrap().map(Scalar::into_owned);
        let inputs: Vec<Option<Scalar<'static>>> = view
            .inputs
            .iter()
            .map(|(_, kind)| match kind.to_string().as_str() {
                "string" => read(format!("\"{text}\""), kind),
                "list<string>" => read(format!("[\"{0}\",\"{0}\",\"{0}\"]", text), kind),
                "vector(40)" => read(format!("[{}]", vec!["-2.2250738585072014e-308"; 40].join(",")), kind),
                "int64" => Some(Scalar::Int(if number % 2 == 0 { i64::MIN + number as i64 } else { i64::MAX })),
                "float64" => Some(Scalar::Float(number as f64 / 3.0)),
                "bool" => Some(Scalar::Bool(true)),
                _ => Some(Scalar::Decimal(-99_999_999_999_999_999_999_999_999_999_999_999_999 + i128::from(number))),
            })
            .collect();
        let id = format!("{number:0256}");
        let time = i64::MAX / 4 - 500_000 + number as i64 * 250 + if number % 8 < 4 { 0 } else { 5_001 };
        let position = Position::new(u64::MAX - 5_000 + number, u64::MAX);
        let stamp = Stamp { feature_time: time, event_id: &id, position, partition: Partition(u16::MAX) };
        slot.absorb(view, stamp, &inputs);
        largest = largest.max(codec::encode(&slot).len() as u64);
    }
    let bound = codec::max_bytes(view);
    assert!(largest <= bound, "{largest} of {bound}");
    // Sets alone are far from full here.
    let sets = view.features.iter().filter(|feature| feature.aggregation == Aggregation::DistinctCount).count() as u64;
    assert!(bound < 2 * largest + sets * 12 * 1_100_000, "{largest} of {bound}");
}
