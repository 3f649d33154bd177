//! Who reports: the instance and the resource.

use std::collections::BTreeMap;

use crate::wire::traceparent::hex;

// The environment that the agent reads. The OTEL_ ones are OpenTelemetry's
// (specification, "Environment Variable Specification", General SDK Configuration).
pub(crate) const ENV_ENDPOINT: &str = "WSSTATS_ENDPOINT";
pub(crate) const ENV_TOKEN: &str = "WSSTATS_TOKEN";
pub(crate) const ENV_AGGREGATES: &str = "WSSTATS_AGGREGATES";
const ENV_SERVICE: &str = "OTEL_SERVICE_NAME";
const ENV_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

const SERVICE_NAME: &str = "service.name";

/// Names one counter of numbers: 32 hex digits from 128 random bits.
pub(crate) fn new_instance() -> String {
    hex(&rand::random::<[u8; 16]>())
}

/// Joins the environment, the stated attributes and the service name; the later goes
/// before the earlier.
pub(crate) fn resource(
    service: Option<String>,
    stated: BTreeMap<String, String>,
    env: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut attributes = match parse_attributes(&env(ENV_ATTRIBUTES).unwrap_or_default()) {
        Ok(attributes) => attributes,
        Err(why) => {
            tracing::warn!("wsstats: environment ignored: {ENV_ATTRIBUTES}: {why}");
            BTreeMap::new()
        }
    };
    if let Some(name) = env(ENV_SERVICE) {
        attributes.insert(SERVICE_NAME.to_owned(), name);
    }
    attributes.extend(stated);
    if let Some(name) = service.filter(|name| !name.is_empty()) {
        attributes.insert(SERVICE_NAME.to_owned(), name);
    }
    attributes
}

/// Reads the form of `OTEL_RESOURCE_ATTRIBUTES`: key=value pairs parted by commas,
/// percent-encoded. One bad pair makes the whole of it bad, as the specification has it.
fn parse_attributes(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    if text.trim().is_empty() {
        return Ok(attributes);
    }
    for (i, pair) in text.split(',').enumerate() {
        let wrong = || format!("pair {}: expected a percent-encoded key=value", i + 1);
        let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
        let key = percent_decode(key.trim()).filter(|key| !key.is_empty()).ok_or_else(wrong)?;
        attributes.insert(key, percent_decode(value.trim()).ok_or_else(wrong)?);
    }
    Ok(attributes)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push((high << 4 | low) as u8);
    }
    String::from_utf8(bytes).ok()
}
