//! No slot outgrows what its definition says: the largest values, ids and numbers, in as many tiles as there can be.

use std::collections::BTreeMap;

use millrace_core::aggregate::{Aggregate, Stamp};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, DefinitionsSource, ValueType, View};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;
use millrace_core::window::WindowState;

const WINDOWS: [&str; 4] = ["lifetime", "{ sliding: 60s, hop: 7s }", "{ tumbling: 30s }", "{ session: 5s }"];
const TYPES: [&str; 9] = [
    "string",
    "list<string>",
    "vector(40)",
    "\"decimal(38,2)\"",
    "\"decimal(28,2)\"",
    "int64",
    "float64",
    "bool",
    "timestamp",
];

fn definitions(features: &[String]) -> Option<Definitions> {
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
         - name: v\n    entity: user\n    from: [click]\n    lateness: 20s\n    features:\n{}",
        features.join("\n")
    );
    Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() }).ok()
}

/// Each aggregation over each window, with each type that it takes.
fn every_feature() -> Vec<String> {
    let mut features = Vec::new();
    for (w, window) in WINDOWS.iter().enumerate() {
        features.push(format!("      - {{ name: n_{w}, agg: count, window: {window} }}"));
        for (t, kind) in TYPES.iter().enumerate() {
            for (e, example) in Aggregate::EXAMPLES.concat().iter().enumerate() {
                features.push(format!(
                    "      - {{ name: f{e}_{t}_{w}, {example}, value: properties.p{t}, type: {kind}, window: {window} }}"
                ));
            }
        }
    }
    features.retain(|feature| definitions(std::slice::from_ref(feature)).is_some());
    features
}

/// The largest value of a type, as bytes; all are different.
fn largest_value(kind: &ValueType, number: u64) -> Scalar<'static> {
    let text = format!("{number:08}").repeat(2_048);
    let read = |text: String| Scalar::read(&text, kind).unwrap().unwrap().into_owned();
    match kind {
        ValueType::String | ValueType::Any => Scalar::Text(text.into()),
        ValueType::List(_) | ValueType::Map(_) => read(format!("[\"{0}\",\"{0}\",\"{0}\"]", text)),
        ValueType::Vector(_) => read(format!("[{}]", vec!["-2.2250738585072014e-308"; 40].join(","))),
        ValueType::Int64 | ValueType::Timestamp => {
            Scalar::Int(if number.is_multiple_of(2) { i64::MIN + number as i64 } else { i64::MAX - number as i64 })
        }
        ValueType::Float64 => Scalar::Float(number as f64 / 3.0),
        ValueType::Bool => Scalar::Bool(number.is_multiple_of(2)),
        ValueType::Decimal(shape) => Scalar::Decimal(1 + i128::from(number) - 10i128.pow(u32::from(shape.precision))),
    }
}

/// The largest that a slot of the view has been, looked at after every `step` entries, and the most that it may be.
fn fill(view: &View, entries: u64, step: u64) -> (u64, u64) {
    let mut slot = Slot::empty(view);
    let mut largest = 0;
    for number in 0..entries {
        let inputs: Vec<_> = view.inputs.iter().map(|(_, kind)| Some(largest_value(kind, number))).collect();
        let id = format!("{number:0256}");
        let time = i64::MAX / 4 - 500_000 + number as i64 * 250 + if number % 8 < 4 { 0 } else { 5_001 };
        let position = Position::new(u64::MAX - 5_000 + number, u64::MAX);
        let stamp = Stamp { feature_time: time, event_id: &id, position, partition: Partition(u16::MAX) };
        slot.absorb(view, stamp, &inputs).unwrap();
        if number % step == 0 {
            largest = largest.max(codec::encode(&slot).len() as u64);
        }
    }
    (largest, codec::max_bytes(view))
}

#[test]
fn no_slot_outgrows_what_its_definition_says() {
    let features = every_feature();
    let definitions = definitions(&features).unwrap();
    let view = &definitions.views[0];
    assert!(view.features.len() > 4 * 30, "{}", view.features.len());
    let (largest, bound) = fill(view, 2_000, 1);
    assert!(largest <= bound, "{largest} of {bound}");
    // Sets alone are far from full here.
    let sets =
        view.features.iter().filter(|feature| matches!(feature.aggregate, Aggregate::DistinctCount(_))).count() as u64;
    assert!(bound < 2 * largest + sets * 12 * 1_100_000, "{largest} of {bound}");
}

/// One feature at a time, so that no generous bound hides a mean one.
#[test]
fn no_feature_outgrows_its_own_bound() {
    for feature in every_feature() {
        let definitions = definitions(std::slice::from_ref(&feature)).unwrap();
        let (largest, bound) = fill(&definitions.views[0], 400, 37);
        assert!(largest <= bound, "{largest} of {bound}: {feature}");
    }
}

/// Numbers that no test can count up to: merged with themselves until the count fills its 64 bits. And full sets.
#[test]
fn no_state_outgrows_its_bound() {
    let spread = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for example in Aggregate::EXAMPLES.concat() {
        for kind in ["int64", "\"decimal(28,2)\"", "float64", "string"] {
            let feature = format!("      - {{ name: f, {example}, value: properties.p, type: {kind} }}");
            let Some(definitions) = definitions(&[feature]) else { continue };
            let view = &definitions.views[0];
            let aggregate = &view.features[0].aggregate;
            let is_set = matches!(aggregate, Aggregate::DistinctCount(_));
            let mut slot = Slot::empty(view);
            for number in 0..if is_set { 65_536 } else { 2 } {
                let value = match &view.inputs[0].1 {
                    ValueType::Int64 if is_set => Scalar::Int(spread(number).cast_signed()),
                    ValueType::String => Scalar::Text(spread(number).to_string().into()),
                    kind => largest_value(kind, number * 2),
                };
                let position = Position::new(u64::MAX, number + 1);
                let stamp = Stamp { feature_time: i64::MIN / 4, event_id: "", position, partition: Partition(0) };
                slot.absorb(view, stamp, &[Some(value)]).unwrap();
            }
            let WindowState::Lifetime(tile) = &mut slot.windows[0] else { panic!("expected a lifetime window") };
            for _ in 0..if is_set { 0 } else { 62 } {
                let same = tile[0].clone();
                aggregate.merge(&mut tile[0], &same).unwrap();
            }
            let (length, bound) = (codec::encode(&slot).len() as u64, codec::max_bytes(view));
            assert!(length <= bound, "{length} of {bound}: {example} of {kind}");
            assert!(length > 400_000 || !is_set, "{length}: the set is full");
        }
    }
}
