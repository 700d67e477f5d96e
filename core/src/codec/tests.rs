//! The codec never changes and never panics.

use super::*;

#[test]
fn hostile_bytes_are_refused_without_panic() {
    use proptest::prelude::*;
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| {
        let mut value = vec![CODEC_VERSION];
        value.extend(bytes);
        let _ = decode(&value);
    });
    assert_eq!(decode(&[]), Err(DecodeError::Truncated(0)));
    assert_eq!(decode(&[9]), Err(DecodeError::UnknownVersion(9)));
}
