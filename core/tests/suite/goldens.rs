//! The bytes of every kind of state and of every kind of window. A slot that any released engine wrote must be read by
//! every later one, so these texts never change; a new kind of state adds rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millrace_core::aggregate::{Aggregate, Stamp};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, DefinitionsSource, View};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;

/// Feature time, event id and the JSON of the value, in log order.
type Entries = [(i64, &'static str, &'static str)];

const INTS: &Entries =
    &[(1_000, "a", "7"), (61_500, "b", "-9007199254740993"), (2_000, "c", "null"), (64_000, "a", "7")];
const DECIMALS: &Entries = &[(1_000, "a", "12.50"), (61_500, "b", "-99999999999999999999999999.99")];
const FLOATS: &Entries = &[(1_000, "a", "0.1"), (61_500, "b", "-2.5e300")];
const TEXTS: &Entries = &[(1_000, "a", "\"ä\""), (61_500, "b", "\"\""), (61_500, "c", "\"zz\"")];
const BOOLS: &Entries = &[(1_000, "a", "true"), (61_500, "b", "false")];
const LISTS: &Entries = &[(1_000, "a", "[1,null]"), (61_500, "b", "[-3]")];
const TIMES: &Entries = &[(1_000, "a", "1700000000000"), (61_500, "b", "\"1969-12-31T23:59:59Z\"")];
const NULLS: &Entries = &[(1_000, "a", "null")];

/// The rest of the definition, the input's type, the entries, and the bytes after the header.
const STATES: &[(&str, &str, &Entries, &str)] = &[
    ("count", "int64", INTS, "0180e8070100010003"),
    ("count", "int64", NULLS, "01d00f0100010000"),
    ("sum", "int64", INTS, "0180e80701000101e5ffffffffffff1f"),
    ("sum", "decimal(28,2)", DECIMALS, "01f8c00701000101b9ecffffa19881a5fcf8f2fc8908"),
    ("sum", "int64", NULLS, "01d00f0100010100"),
    ("sum", "float64", FLOATS, "01f8c00701000102039300aa4bdd4dfe"),
    ("sum", "float64", NULLS, "01d00f010001020000000000000000"),
    ("mean", "int64", INTS, "0180e80701000103e5ffffffffffff1f03"),
    ("mean", "decimal(28,2)", DECIMALS, "01f8c00701000103b9ecffffa19881a5fcf8f2fc890802"),
    ("mean", "int64", NULLS, "01d00f010001030000"),
    ("mean", "float64", FLOATS, "01f8c00701000104039300aa4bdd4dfe02"),
    ("mean", "float64", NULLS, "01d00f01000104000000000000000000"),
    ("min", "int64", INTS, "0180e8070100010501008180808080808020"),
    ("max", "int64", INTS, "0180e8070100010501000e"),
    ("min", "decimal(28,2)", DECIMALS, "01f8c007010001050102fdffffffa19881a5fcf8f2fc8908"),
    ("max", "float64", FLOATS, "01f8c0070100010501019a9999999999b93f"),
    ("max", "string", TEXTS, "01f8c00701000105010402c3a4"),
    ("min", "timestamp", TIMES, "01f8c007010001050100cf0f"),
    ("max", "int64", NULLS, "01d00f0100010500"),
    ("first", "int64", INTS, "0180e8070100010601d00f016180d8c1a28c3400ac02000e"),
    ("last", "decimal(28,2)", DECIMALS, "01f8c0070100010601f8c007016281d8c1a28c3401ac0202fdffffffa19881a5fcf8f2fc8908"),
    ("last", "float64", FLOATS, "01f8c0070100010601f8c007016281d8c1a28c3401ac0201039300aa4bdd4dfe"),
    ("last", "string", TEXTS, "01f8c0070100010601f8c007016382d8c1a28c3402ac0204027a7a"),
    ("first", "bool", BOOLS, "01f8c0070100010601d00f016180d8c1a28c3400ac020301"),
    ("last", "list<int64>", LISTS, "01f8c0070100010601f8c007016281d8c1a28c3401ac0205045b2d335d"),
    ("last", "int64", NULLS, "01d00f0100010600"),
    (
        "last_n, n: 2",
        "string",
        TEXTS,
        "01f8c0070100010702f8c007016382d8c1a28c3402ac0204027a7af8c007016281d8c1a28c3401ac020400",
    ),
    (
        "last_n, n: 9",
        "int64",
        INTS,
        "0180e807010001070380e807016183d8c1a28c3403ac02000ef8c007016281d8c1a28c3401ac02008180808080808020d00f016180d8c1a28c3400ac02000e",
    ),
    ("last_n, n: 2", "string", NULLS, "01d00f0100010700"),
    ("distinct_count", "int64", INTS, "0180e807010001080281808080808080209080808080808020"),
    ("distinct_count", "timestamp", TIMES, "01f8c0070100010802cf0fd0afabfef962"),
    ("distinct_count", "int64", NULLS, "01d00f0100010800"),
    (
        "distinct_count",
        "decimal(28,2)",
        DECIMALS,
        "01f8c0070100010902203d7447dbdd1771c2b3d4acf1af1072e7353cb4e4aa9f84f2e50c34310d99a5",
    ),
    (
        "distinct_count",
        "string",
        TEXTS,
        "01f8c0070100010903b4b4706a6764305453bbda011d8ec65bf1993068b8572aacc076a5c1f5b965627f498d4624c30160d8984701d306aa99",
    ),
    (
        "distinct_count",
        "bool",
        BOOLS,
        "01f8c00701000109020000000000000000000000000000000001000000000000000000000000000000",
    ),
    ("distinct_count", "string", NULLS, "01d00f0100010900"),
    (
        "var_pop",
        "int64",
        INTS,
        "0180e8070100010b030d0000000000e0ffffffffffffffffffffffffffffffffffffffffffffffffff6300000000004000000000000004000000000000000000000000000000000000",
    ),
    (
        "var_pop",
        "decimal(28,2)",
        DECIMALS,
        "01f8c0070100010b02e30400f09efddac1a131b0dfffffffffffffffffffffffffffffffffffffffff85d717e03dfbb5a450ac343388c7fffd246a0f94780c14040000000000000000",
    ),
    (
        "var_pop",
        "int64",
        NULLS,
        "01d00f0100010b0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "var_samp",
        "int64",
        INTS,
        "0180e8070100010b030d0000000000e0ffffffffffffffffffffffffffffffffffffffffffffffffff6300000000004000000000000004000000000000000000000000000000000000",
    ),
    (
        "var_samp",
        "decimal(28,2)",
        DECIMALS,
        "01f8c0070100010b02e30400f09efddac1a131b0dfffffffffffffffffffffffffffffffffffffffff85d717e03dfbb5a450ac343388c7fffd246a0f94780c14040000000000000000",
    ),
    (
        "var_samp",
        "int64",
        NULLS,
        "01d00f0100010b0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "stddev_pop",
        "int64",
        INTS,
        "0180e8070100010b030d0000000000e0ffffffffffffffffffffffffffffffffffffffffffffffffff6300000000004000000000000004000000000000000000000000000000000000",
    ),
    (
        "stddev_pop",
        "decimal(28,2)",
        DECIMALS,
        "01f8c0070100010b02e30400f09efddac1a131b0dfffffffffffffffffffffffffffffffffffffffff85d717e03dfbb5a450ac343388c7fffd246a0f94780c14040000000000000000",
    ),
    (
        "stddev_pop",
        "int64",
        NULLS,
        "01d00f0100010b0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "stddev_samp",
        "int64",
        INTS,
        "0180e8070100010b030d0000000000e0ffffffffffffffffffffffffffffffffffffffffffffffffff6300000000004000000000000004000000000000000000000000000000000000",
    ),
    (
        "stddev_samp",
        "decimal(28,2)",
        DECIMALS,
        "01f8c0070100010b02e30400f09efddac1a131b0dfffffffffffffffffffffffffffffffffffffffff85d717e03dfbb5a450ac343388c7fffd246a0f94780c14040000000000000000",
    ),
    (
        "stddev_samp",
        "int64",
        NULLS,
        "01d00f0100010b0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ),
];

/// Each kind of window, over a sum of integers.
const WINDOWS: &[(&str, &str)] = &[
    ("lifetime", "0190b907010001011e"),
    ("{ sliding: 60s, hop: 7s }", "0190b907010104e0da0100010106020101080201010a04010106"),
    ("{ tumbling: 30s }", "0190b90701010102c0a907010106"),
    ("{ session: 3s }", "0190b907010204d00fe807010106c0b80200010108e0d4030001010a90b90700010106"),
];

fn definitions(agg: &str, kind: &str, window: &str) -> Definitions {
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
         - name: v\n    entity: user\n    from: [click]\n    lateness: 70s\n    features:\n      \
         - {{ name: f, agg: {agg}, value: properties.x, type: \"{kind}\", window: {window} }}\n"
    );
    Definitions::compile(DefinitionsSource { yaml, schemas: BTreeMap::new() }).unwrap()
}

fn folded(view: &View, entries: &Entries) -> Slot {
    let mut slot = Slot::empty(view);
    for (number, (feature_time, event_id, json)) in (0u64..).zip(entries) {
        let position = Position::new(1_790_000_000_000 + number, number);
        let stamp = Stamp { feature_time: *feature_time, event_id, position, partition: Partition(300) };
        slot.absorb(view, stamp, &[Scalar::read(json, &view.inputs[0].1).unwrap()]).unwrap();
    }
    slot
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Compares the bytes of a slot after its header, and reads them back.
fn assert_golden(view: &View, slot: &Slot, golden: &str, what: &str) {
    let bytes = codec::encode(slot);
    assert_eq!(hex(&bytes[codec::HEADER_BYTES..]), golden, "{what}");
    assert_eq!(codec::decode_for(view, &bytes).as_ref(), Ok(slot), "{what}");
}

#[test]
fn the_bytes_of_a_state_never_change() {
    for (agg, kind, entries, golden) in STATES {
        let definitions = definitions(agg, kind, "lifetime");
        let view = &definitions.views[0];
        assert_golden(view, &folded(view, entries), golden, &format!("{agg} of {kind}"));
    }
}

#[test]
fn every_aggregate_has_a_golden() {
    for name in Aggregate::NAMES {
        let has = STATES.iter().any(|(agg, ..)| agg.split(',').next() == Some(name));
        assert!(has, "`{name}` has no golden: add a row to STATES");
    }
}

#[test]
fn the_bytes_of_a_window_never_change() {
    for (window, golden) in WINDOWS {
        let definitions = definitions("sum", "int64", window);
        let view = &definitions.views[0];
        let late = [(1_000, "a", "1"), (1_500, "b", "2"), (61_000, "c", "3"), (20_000, "d", "4"), (30_000, "e", "5")];
        assert_golden(view, &folded(view, &late), golden, window);
        let nothing = Slot::empty(view);
        assert_eq!(codec::decode_for(view, &codec::encode(&nothing)), Ok(nothing), "{window}");
    }
}

#[test]
fn the_bytes_of_a_set_past_its_limit_never_change() {
    let definitions = definitions("distinct_count", "int64", "lifetime");
    let view = &definitions.views[0];
    let mut slot = Slot::empty(view);
    for value in 0..=65_536i64 {
        let position = Position::new(1_790_000_000_000, value.unsigned_abs() + 1);
        let stamp = Stamp { feature_time: 1_000, event_id: "", position, partition: Partition(0) };
        slot.absorb(view, stamp, &[Some(Scalar::Int(value))]).unwrap();
    }
    assert_golden(view, &slot, "01d00f0100010a", "more than 65,536");
}

/// The codec version, the generation and the position are fixed and big-endian: Redis compares them.
#[test]
fn the_bytes_of_a_header_never_change() {
    let definitions = definitions("count", "int64", "lifetime");
    let mut slot = folded(&definitions.views[0], INTS);
    slot.checkpoint.generation = 0x0102_0304;
    assert_eq!(hex(&codec::encode(&slot)[..codec::HEADER_BYTES]), "0101020304000001a0c4506c030000000000000003");
}
