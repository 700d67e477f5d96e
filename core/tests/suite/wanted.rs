//! Reading what is wanted out of encoded slots is the same as decoding them whole, for every aggregate, input and
//! window; and bytes that are not a slot are refused at most as often.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use millrace_core::aggregate::{Aggregate, Stamp};
use millrace_core::assemble::{FeatureValue, Status, assemble, assemble_encoded, newest};
use millrace_core::codec::{self, DecodeError, EncodedSlot, Wanted};
use millrace_core::definitions::{DefinitionErrors, Definitions, DefinitionsSource, View};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

const WINDOWS: [&str; 5] = ["lifetime", "20s", "{ sliding: 60s, hop: 7s }", "{ tumbling: 30s }", "{ session: 5s }"];
const TYPES: [&str; 6] = ["int64", "\"decimal(18,2)\"", "float64", "bool", "string", "list<int64>"];

static VIEW: LazyLock<View> = LazyLock::new(|| {
    let mut features = Vec::new();
    for (e, example) in Aggregate::EXAMPLES.concat().iter().enumerate() {
        for (w, window) in WINDOWS.iter().enumerate() {
            for (t, kind) in TYPES.iter().enumerate() {
                features.push(format!(
                    "      - {{ name: f{e}_{w}_{t}, {example}, value: properties.p{t}, type: {kind}, window: {window} }}\n"
                ));
            }
        }
    }
    // Each aggregate with the types that it takes.
    features.retain(|feature| compile(feature).is_ok());
    compile(&features.concat()).unwrap().views.remove(0)
});

fn compile(features: &str) -> Result<Definitions, DefinitionErrors> {
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
         - name: all\n    entity: user\n    from: [click]\n    ttl: 100s\n    features:\n{features}"
    );
    Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() })
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
        slot.absorb(&VIEW, stamp, &inputs(event)).unwrap();
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
    #[test]
    fn wanted_features_are_those_of_the_whole(
        events in proptest::collection::vec(events(), 0..3),
        wanted in some_features(),
        later in -5_000i64..120_000,
    ) {
        let slots: Vec<Vec<u8>> = events.iter().zip(0..).map(|(events, partition)| encoded(partition, events)).collect();
        prop_assert_eq!(folded(&slots, &wanted, later).unwrap(), whole(&slots, &wanted, later).unwrap());
    }

    /// The reader does not check the states that it steps over, so it refuses fewer bytes than the decoder of the
    /// whole slot. It never refuses bytes that the decoder takes.
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
    assert!(matches!(folded(&bytes, &[0], 0), Err(DecodeError::WrongShape)));
    let mut slot = Slot::empty(&VIEW);
    slot.newest = Some(1);
    slot.windows.swap(0, 1);
    let bytes = [codec::encode(&slot)];
    assert!(matches!(folded(&bytes, &[0], 0), Err(DecodeError::WrongShape)));
}

/// The bytes of one kind of state are not read as another kind, be it wanted, stepped over or decoded whole.
#[test]
fn a_slot_whose_states_are_of_another_kind_is_refused() {
    let view = |features: &str| compile(features).unwrap().views.remove(0);
    let feature = |agg: &str, kind: &str| format!("      - {{ name: f, {agg}, value: properties.x, type: {kind} }}\n");
    let wrong = |declared: &View, bytes: &[u8]| {
        assert_eq!(codec::decode_for(declared, bytes), Err(DecodeError::WrongShape));
        let slots = || [EncodedSlot::open(declared, bytes).unwrap()];
        for wanted in [vec![0], vec![0, 1]] {
            let wanted = Wanted::new(declared, wanted);
            let folded = assemble_encoded(declared, &slots(), &wanted, |_| 1);
            assert_eq!(folded, Err(DecodeError::WrongShape));
        }
        let second = Wanted::new(declared, vec![1]);
        assert_eq!(assemble_encoded(declared, &slots(), &second, |_| 1), Err(DecodeError::WrongShape), "stepped over");
    };
    let count = "      - { name: n, agg: count }\n";
    for (written, declared) in [
        (feature("agg: count", "int64"), feature("agg: sum", "int64")),
        (feature("agg: sum", "int64"), feature("agg: mean", "int64")),
        (feature("agg: min", "int64"), feature("agg: first", "int64")),
        (feature("agg: last", "int64"), feature("agg: last_n, n: 1", "int64")),
        (feature("agg: last_n, n: 1", "int64"), feature("agg: distinct_count", "int64")),
        (feature("agg: distinct_count", "int64"), feature("agg: var_pop", "int64")),
        (feature("agg: stddev_samp", "int64"), feature("agg: count", "int64")),
    ] {
        let (written, declared) = (view(&(written + count)), view(&(declared + count)));
        let mut slot = Slot::empty(&written);
        slot.newest = Some(1);
        wrong(&declared, &codec::encode(&slot));
        // The states in memory are refused as well.
        let stamp = Stamp { feature_time: 1, event_id: "", position: Position::new(1, 0), partition: Partition(0) };
        assert!(slot.absorb(&declared, stamp, &[Some(Scalar::Int(1))]).is_err());
        let answers = assemble(&declared, std::slice::from_ref(&slot), &[0], 1);
        assert_eq!(answers[0].status, Status::Error);
        assert!(answers[0].reason.as_deref().unwrap().contains("of another kind"));
        let (aggregate, other) = (&declared.features[0].aggregate, &written.features[0].aggregate);
        assert!(aggregate.merge(&mut aggregate.empty(), &other.empty()).is_err());
    }
    // One aggregate of two input types has two kinds of state.
    for agg in ["agg: sum", "agg: mean", "agg: distinct_count"] {
        let other = if agg == "agg: distinct_count" { "string" } else { "float64" };
        let (ints, others) = (view(&(feature(agg, "int64"))), view(&(feature(agg, other))));
        let bytes = codec::encode(&Slot::empty(&others));
        assert_eq!(codec::decode_for(&ints, &bytes), Err(DecodeError::WrongShape), "{agg}");
        let (ints, others) = (&ints.features[0].aggregate, &others.features[0].aggregate);
        assert!(ints.merge(&mut ints.empty(), &others.empty()).is_err(), "{agg}");
    }
}
