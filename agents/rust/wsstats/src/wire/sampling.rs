//! Thresholds of OpenTelemetry's consistent probability sampling.

/// The threshold that no randomness reaches: ratio 0.
pub(crate) const NEVER_SAMPLED: u64 = 1 << 56;

const NEVER_TEXT: &str = "100000000000000";

/// Writes a threshold as the value of `th`: hex digits without trailing zeros, "0" for 0.
pub(crate) fn format_threshold(threshold: u64) -> String {
    if threshold >= NEVER_SAMPLED {
        return NEVER_TEXT.to_owned();
    }
    let digits = format!("{threshold:014x}");
    match digits.trim_end_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// Reads what [`format_threshold`] writes: 1 to 14 lower-case hex digits, or the form of
/// [`NEVER_SAMPLED`].
pub(crate) fn parse_threshold(text: &str) -> Option<u64> {
    if text == NEVER_TEXT {
        return Some(NEVER_SAMPLED);
    }
    let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if text.is_empty() || text.len() > 14 || !text.bytes().all(digit) {
        return None;
    }
    u64::from_str_radix(&format!("{text:0<14}"), 16).ok()
}
