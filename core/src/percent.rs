//! Undoes percent-encoding, once. This is the only place that does. Callers choose whether a `%` that begins no code is
//! refused or kept, and read the bytes as UTF-8 in their own way.

use std::borrow::Cow;

/// Decodes `%XX`. A `%` without two hexadecimal digits behind it stays as it is.
pub fn decode_lenient(text: &[u8]) -> Cow<'_, [u8]> {
    percent_encoding::percent_decode(text).into()
}

/// Decodes `%XX`. Returns None when a `%` has no two hexadecimal digits behind it, or when the result is not UTF-8.
pub fn decode_strict(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let begins_a_code =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(begins_a_code) {
        return None;
    }
    let bytes = decode_lenient(text.as_bytes()).into_owned();
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_decoded_once_in_either_case() {
        assert_eq!(decode_strict("a%2Fb%2fc%2525").as_deref(), Some("a/b/c%25"));
        assert_eq!(decode_strict("%e2%82%AC").as_deref(), Some("€"));
        assert_eq!(*decode_lenient(b"%e2%82%AC"), *"€".as_bytes());
        assert!(matches!(decode_strict("plain +é"), Some(Cow::Borrowed("plain +é"))));
    }

    #[test]
    fn a_percent_sign_without_a_code_is_refused_or_kept() {
        for text in ["%", "a%", "%4", "%4g", "%%41", "%+A", "%é"] {
            assert_eq!(decode_strict(text), None, "{text}");
        }
        for (text, decoded) in [("50%off%", "50%off%"), ("%%41", "%A"), ("%+A", "%+A"), ("%4", "%4")] {
            assert_eq!(*decode_lenient(text.as_bytes()), *decoded.as_bytes(), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_left_to_the_caller_or_refused() {
        assert_eq!(*decode_lenient(b"%ff"), *b"\xff");
        assert_eq!(decode_strict("%ff"), None);
    }
}
