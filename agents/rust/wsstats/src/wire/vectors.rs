//! Holds the crate to protocol/vectors: derived ids byte for byte, and messages by the rows
//! that they decode to.
//!
//! With `WSSTATS_VECTORS_OUT` naming a directory, the messages of each case are written there
//! as this crate encodes them, for the receiver's own test of the vectors.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::decode::{Definitions, KINDS, read_json, text, vectors};
use super::id::Seed;
use super::message::Message;
use super::sampling::{format_threshold, parse_threshold};
use super::{json, proto};

/// Red when: a word, an order of bytes, a number of a kind, slot or role, or the rule of
/// zeros differs from the conventions.
#[test]
fn ids_are_those_of_the_vectors() {
    let vectors: Json = serde_json::from_slice(&fs::read(vectors().join("ids.json")).unwrap()).unwrap();
    let cases = vectors["ids"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let seed = match (text(case, "connection_id"), text(case, "message_id"), text(case, "instance")) {
            (Some(id), None, _) => Seed::connection(id),
            (Some(id), Some(message), _) => Seed::new(&[id, message]),
            (None, _, Some(instance)) => Seed::new(&["", instance]),
            _ => {
                let word = |i: usize| u64::from_str_radix(case["words"][i].as_str().unwrap(), 16).unwrap();
                Seed::of_words(word(0), word(1), word(2))
            }
        };
        let n: u64 = text(case, "ordinal").unwrap().parse().unwrap();
        let slot = case["slot"].as_u64().unwrap();
        let kind = KINDS.into_iter().find(|kind| Some(kind.name()) == text(case, "kind")).unwrap();
        let role = match text(case, "role") {
            Some("client") => 1,
            Some("server") => 2,
            _ => 0,
        };
        assert_eq!(super::traceparent::hex(&seed.trace(n, slot)), text(case, "trace_id").unwrap(), "{case}");
        assert_eq!(super::traceparent::hex(&seed.span(n, slot, kind, role)), text(case, "span_id").unwrap(), "{case}");
        assert_eq!(format!("{:014x}", seed.randomness()), text(case, "randomness").unwrap(), "{case}");
    }
}

/// Red when: a threshold is read or written otherwise, or compared the wrong way.
#[test]
fn thresholds_are_those_of_the_vectors() {
    let vectors: Json = serde_json::from_slice(&fs::read(vectors().join("ids.json")).unwrap()).unwrap();
    let thresholds = vectors["thresholds"].as_array().unwrap();
    let sampling = vectors["sampling"].as_array().unwrap();
    assert!(thresholds.len() > 5 && sampling.len() > 5);
    for case in thresholds.iter().chain(sampling) {
        let written = text(case, "threshold").unwrap();
        let threshold = parse_threshold(written).unwrap();
        assert_eq!(format_threshold(threshold), written);
        if let Some(randomness) = text(case, "randomness") {
            let randomness = u64::from_str_radix(randomness, 16).unwrap();
            assert_eq!(randomness >= threshold, case["keep"].as_bool().unwrap(), "{case}");
        }
    }
    for bad in ["", "g", "F", "+1", "000000000000000", "100000000000001"] {
        assert_eq!(parse_threshold(bad), None, "{bad}");
    }
}

/// Red when: either form leaves something of a row out, or adds to it: an attribute without
/// its column, a distance to the wrong event, a handle that was not defined, an integer
/// written as a double.
#[test]
fn messages_decode_to_the_rows_of_the_vectors() {
    let out = std::env::var_os("WSSTATS_VECTORS_OUT").map(PathBuf::from);
    let (mut cases, mut messages) = (0, 0);
    for dir in fs::read_dir(vectors().join("messages")).unwrap() {
        for file in fs::read_dir(dir.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "binpb") {
                continue;
            }
            let Some(case) = decode_case(&fs::read(&path).unwrap()) else { continue };
            cases += 1;
            messages += case.len();
            let (json, proto) = encode_case(&path, &case);
            if let Some(out) = &out {
                let to = out.join(path.strip_prefix(vectors().join("messages")).unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(to.with_extension("json"), json).unwrap();
                fs::write(to, proto).unwrap();
            }
        }
    }
    assert!(cases > 200 && messages > 350, "{cases} cases, {messages} messages");
}

/// Encodes the messages of a case in both forms, and decodes each again. Where the session
/// begins anew JSON says reconnect, and the binary form has length 0.
fn encode_case(path: &Path, case: &[Option<Message>]) -> (Vec<u8>, Vec<u8>) {
    let (mut encoder, mut definitions) = (proto::Encoder::default(), Definitions::default());
    let (mut texts, mut delimited) = (Vec::new(), Vec::new());
    for message in case {
        let Some(message) = message else {
            encoder.reset();
            definitions = Definitions::default();
            texts.push(r#"{"reconnect":true}"#.to_owned());
            delimited.push(0);
            continue;
        };
        if matches!(message, Message::Hello(_)) {
            encoder.reset();
            definitions = Definitions::default();
        }
        let mut bytes = Vec::new();
        assert!(encoder.append(&mut bytes, message));
        let decoded = definitions.decode(&bytes).unwrap();
        assert_eq!(&decoded, message, "{}: binary", path.display());
        prost::encoding::encode_varint(bytes.len() as u64, &mut delimited);
        delimited.extend_from_slice(&bytes);

        let mut bytes = Vec::new();
        json::append(&mut bytes, message);
        let parsed = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(&read_json(&parsed), message, "{}: JSON", path.display());
        texts.push(String::from_utf8(bytes).unwrap());
    }
    (format!("[{}]", texts.join(",\n")).into_bytes(), delimited)
}

/// The messages of a case, none where one of them has no twin in the binary form or is one
/// that this crate's values cannot hold.
fn decode_case(mut data: &[u8]) -> Option<Vec<Option<Message>>> {
    let mut messages = Vec::new();
    let mut definitions = Definitions::default();
    let mut any = false;
    while !data.is_empty() {
        let size = usize::try_from(prost::encoding::decode_varint(&mut data).unwrap()).unwrap();
        let (message, rest) = data.split_at(size);
        data = rest;
        if message.is_empty() {
            messages.push(None);
            definitions = Definitions::default();
            continue;
        }
        let message = definitions.decode(message)?;
        any = true;
        messages.push(Some(message));
    }
    any.then_some(messages)
}
