//! Durations as people write them: `500ms`, `30s`, `5m`, `1h`, `7d`. Milliseconds inside.

/// Reads a duration in milliseconds: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_ms: i64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms).filter(|ms| *ms > 0)
}

/// The shortest text that [`parse_duration`] reads back.
pub fn format_duration(ms: i64) -> String {
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms != 0 && ms % unit_ms == 0 {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for (text, ms) in [("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000), ("250ms", 250), ("90s", 90_000)] {
            assert_eq!(parse_duration(text), Some(ms));
            assert_eq!(format_duration(ms), text);
        }
        for text in ["", "5", "m", "5 m", "-5m", "0s", "1w", "9999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
