//! What the protocol can say of the application's attributes.

use opentelemetry::{Array, KeyValue, Value};

use super::attr::Attr;

/// Tells whether the protocol can say a value: doubles are finite.
pub(crate) fn sayable(value: &Value) -> bool {
    match value {
        Value::F64(f) => f.is_finite(),
        Value::Array(Array::F64(values)) => values.iter().all(|f| f.is_finite()),
        Value::Bool(_) | Value::I64(_) | Value::String(_) => true,
        Value::Array(Array::Bool(_) | Array::I64(_) | Array::String(_)) => true,
        _ => false,
    }
}

/// The attributes that can be said beside those of the conventions: each key once, and
/// none that is reserved.
pub(crate) fn user<'a>(
    attributes: &'a [KeyValue],
    reserved: &'static [&'static str],
) -> impl Iterator<Item = &'a KeyValue> {
    distinct(attributes).filter(move |kv| {
        let key = kv.key.as_str();
        Attr::parse(key).is_none() && !reserved.contains(&key)
    })
}

/// The attributes that can be said, each key once.
pub(crate) fn distinct(attributes: &[KeyValue]) -> impl Iterator<Item = &KeyValue> {
    attributes.iter().enumerate().filter_map(move |(i, kv)| {
        let repeated = attributes.iter().take(i).any(|earlier| earlier.key == kv.key);
        (!kv.key.as_str().is_empty() && !repeated && sayable(&kv.value)).then_some(kv)
    })
}
