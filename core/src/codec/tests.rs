//! The codec refuses all bytes that are not a slot, and never panics.

use proptest::prelude::*;

use super::*;
use crate::aggregate::Aggregate;
use crate::definitions::{Definitions, DefinitionsSource};

/// Every aggregate over every kind of window.
fn view() -> View {
    let mut features = String::new();
    for (w, window) in ["lifetime", "20s", "{ tumbling: 30s }", "{ session: 5s }"].iter().enumerate() {
        for (e, example) in Aggregate::EXAMPLES.concat().iter().enumerate() {
            features.push_str(&format!(
                "      - {{ name: f{e}_{w}, {example}, value: properties.x, type: int64, window: {window} }}\n"
            ));
        }
    }
    let yaml = format!(
        "entities: {{ user: {{ key: user_id, type: int64 }} }}\nevents: {{ click: {{ partition_by: user }} }}\nviews:\n  \
         - name: v\n    entity: user\n    from: [click]\n    features:\n{features}"
    );
    let source = DefinitionsSource { yaml, schemas: Default::default() };
    Definitions::compile(source).unwrap().views.remove(0)
}

#[test]
fn hostile_bytes_are_refused_without_panic() {
    let view = view();
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200), windows in any::<bool>())| {
        let mut value = vec![CODEC_VERSION];
        if windows {
            // A whole header and the right number of windows, so that the states are reached.
            value.resize(HEADER_BYTES, 0);
            value.extend([0, 4]);
        }
        value.extend(bytes);
        let _ = decode_for(&view, &value);
    });
    assert_eq!(decode_for(&view, &[]), Err(DecodeError::Truncated(0)));
    assert_eq!(decode_for(&view, &[9]), Err(DecodeError::UnknownVersion(9)));
}
