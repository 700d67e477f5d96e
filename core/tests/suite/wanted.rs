//! Reading what is wanted out of encoded slots is the same as decoding them whole, for every aggregate, input and
//! window; and bytes that are no slot are refused at most as often.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use millrace_core::aggregate::Stamp;
use millrace_core::assemble::{FeatureValue, assemble, assemble_encoded, newest};
use millrace_core::codec::{self, DecodeError, EncodedSlot, Wanted};
use millrace_core::definitions::{Definitions, DefinitionsSource, View};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

const AGGREGATIONS: [&str; 9] =
    ["count", "sum", "mean", "min", "max", "first", "last", "distinct_count", "last_n, n: 3"];
const WINDOWS: [&str; 5] = ["lifetime", "20s", "{ sliding: 60s, hop: 7s }", "{ tumbling: 30s }", "{ session: 5s }"];
const TYPES: [&str; 6] = ["int64", "\"decimal(18,2)\"", "float64", "bool", "string", "list<int64>"];

static VIEW: LazyLock<View> = LazyLock::new(|| {
    let mut features = String::new();
    for (a, agg) in AGGREGATIONS.iter().enumerate() {
        for (w, window) in WINDOWS.iter().enumerate() {
            for (t, kind) in TYPES.iter().enumerate().filter(|(_, kind)| takes(agg, kind)) {
                features.push_str(&format!(
                    "      - {{ name: f{a}_{w}_{t}, agg: {agg}, value: properties.p{t}, type: {kind}, window: {window} }}\n"
                ));
            }
        }
    }
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
         - name: all\n    entity: user\n    from: [click]\n    ttl: 100s\n    features:\n{features}"
    );
    let source = DefinitionsSource { yaml, schemas: BTreeMap::new() };
    Definitions::compile(source).unwrap().views.remove(0)
});

fn takes(agg: &str, kind: &str) -> bool {
    match agg {
        "sum" | "mean" => !["bool", "string", "list<int64>"].contains(&kind),
        "min" | "max" => !["bool", "list<int64>"].contains(&kind),
        "distinct_count" => !["float64", "list<int64>"].contains(&kind),
        _ => true,
    }
}

type Event = (i64, u8, Option<i64>, Option<i32>);

/// One value in all types; large ones too, so that numbers of every length are written.
fn inputs((_, _, int, small): &Event) -> Vec<Option<Scalar<'static>>> {
    let small = small.map(|small| small % 7);
    VIEW.inputs
        .iter()
        .map(|(_, kind)| match kind.to_string().as_str() {
            "int64" => int.map(Scalar::Int),
            "float64" => small.map(|small| Scalar::Float(f64::from(small) / 3.0)),
            "bool" => small.map(|small| Scalar::Bool(small > 2)),
            "string" => small.map(|small| Scalar::Text(format!("ä{small}").into())),
            "list<int64>" => small.map(|small| Scalar::Json(format!("[{small}]").into())),
            _ => int.map(|int| Scalar::Decimal(i128::from(int) << 20)),
        })
        .collect()
}

fn encoded(partition: u16, events: &[Event]) -> Vec<u8> {
    let mut slot = Slot::empty(&VIEW);
    for (seq, event) in events.iter().enumerate() {
        let position = Position::new(200_000, seq as u64 + 1);
        let id = format!("e{}", event.1);
        let stamp = Stamp { feature_time: event.0, event_id: &id, position, partition: Partition(partition) };
        slot.absorb(&VIEW, stamp, &inputs(event));
    }
    codec::encode(&slot)
}

fn whole(slots: &[Vec<u8>], wanted: &[usize], later: i64) -> Result<Vec<FeatureValue>, DecodeError> {
    let slots = slots.iter().map(|bytes| codec::decode_for(&VIEW, bytes)).collect::<Result<Vec<_>, _>>()?;
    Ok(assemble(&VIEW, &slots, wanted, newest(&slots).unwrap_or_default() + later))
}

fn folded(slots: &[Vec<u8>], wanted: &[usize], later: i64) -> Result<Vec<FeatureValue>, DecodeError> {
    let slots = slots.iter().map(|bytes| EncodedSlot::open(&VIEW, bytes)).collect::<Result<Vec<_>, _>>()?;
    assemble_encoded(&VIEW, &slots, &Wanted::new(&VIEW, wanted.to_vec()), |newest| newest.unwrap_or_default() + later)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let int = proptest::option::of(prop_oneof![-9i64..9, any::<i64>()]);
    proptest::collection::vec((0i64..120_000, 0u8..5, int, any::<Option<i32>>()), 0..40)
}

fn some_features() -> impl Strategy<Value = Vec<usize>> {
    let all: Vec<usize> = (0..VIEW.features.len()).collect();
    let most = all.len();
    prop_oneof![subsequence(all.clone(), 0..6), subsequence(all, 0..=most)].prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn wanted_features_are_those_of_the_whole(
        events in proptest::collection::vec(events(), 0..3),
        wanted in some_features(),
        later in -5_000i64..120_000,
    ) {
        let slots: Vec<Vec<u8>> = events.iter().zip(0..).map(|(events, partition)| encoded(partition, events)).collect();
        prop_assert_eq!(folded(&slots, &wanted, later).unwrap(), whole(&slots, &wanted, later).unwrap());
    }

    /// What is stepped over is not checked, so fewer bytes are refused; but never ones that a decoder takes.
    #[test]
    fn broken_bytes_are_refused_at_most_as_often(
        events in events(),
        wanted in some_features(),
        broken in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..3),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut bytes = encoded(0, &events);
        for (at, byte) in broken {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let slots = [bytes];
        if let (folded, Ok(whole)) = (folded(&slots, &wanted, 0), whole(&slots, &wanted, 0)) {
            prop_assert_eq!(folded, Ok(whole));
        }
    }
}

#[test]
fn a_slot_of_another_shape_is_refused() {
    let mut slot = Slot::empty(&VIEW);
    slot.windows.pop();
    let bytes = [codec::encode(&slot)];
    assert!(matches!(folded(&bytes, &[0], 0), Err(DecodeError::WrongShape(_))));
    let mut slot = Slot::empty(&VIEW);
    slot.newest = Some(1);
    slot.windows.swap(0, 1);
    let bytes = [codec::encode(&slot)];
    assert!(matches!(folded(&bytes, &[0], 0), Err(DecodeError::WrongShape(_))));
}
