//! W3C Trace Context.

use super::id::{NO_SPAN, NO_TRACE, SpanIds};

/// A parsed traceparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) span: SpanIds,
    pub(crate) flags: u8,
}

impl TraceContext {
    /// Reads the header of W3C Trace Context level 1, and of later versions what
    /// that level has.
    pub(crate) fn parse(text: &str) -> Option<TraceContext> {
        let bytes = text.as_bytes();
        let dash = |at: usize| bytes.get(at) == Some(&b'-');
        if !dash(2) || !dash(35) || !dash(52) || bytes.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let [version] = parse_hex(text.get(..2)?)?;
        let span = SpanIds { trace: parse_hex(text.get(3..35)?)?, span: parse_hex(text.get(36..52)?)? };
        let [flags] = parse_hex(text.get(53..55)?)?;
        let too_long = bytes.len() > 55 && (version == 0 || !dash(55));
        if version == 0xff || too_long || span.trace == NO_TRACE || span.span == NO_SPAN {
            return None;
        }
        Some(TraceContext { span, flags })
    }

    /// Writes the header.
    pub(crate) fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", hex(&self.span.trace), hex(&self.span.span), self.flags)
    }
}

/// Reads as many hex digits as the bytes have.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | value as u8;
        }
    }
    Some(bytes)
}

/// Writes bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).map_or('0', |digit| char::from(*digit));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
