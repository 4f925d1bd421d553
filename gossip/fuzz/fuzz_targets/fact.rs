//! Any bytes as a fact under any key: a fact of that key, or an error; and what was understood can be said again.
//!
//! An input is the text of a key, a line feed and the value. Or, as names of fields are hard to guess: a NUL, the number of
//! one of our own facts, and edits to its value of three bytes each: where (little-endian) and what is put there.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use topology::codec::{VALUE_BYTES_MAX, decode, encode};
use topology::fact::Fact;
use topology::synthetic::SyntheticHost;
use topology::{Key, Timestamp};

/// One of each kind, but those that a synthetic host does not have.
static SAMPLES: LazyLock<Vec<(Key, Vec<u8>)>> = LazyLock::new(|| {
    let host = SyntheticHost::new(0, 2);
    let mut facts = host.facts();
    facts.dedup_by_key(|fact| std::mem::discriminant(fact));
    facts.extend(host.gauges(Timestamp(1_000_000_000_000)).into_iter().map(Fact::Gauges));
    facts.iter().map(|fact| (fact.key(), encode(fact))).collect()
});

fuzz_target!(|input: &[u8]| {
    match input {
        [0, number, edits @ ..] => {
            let (key, value) = &SAMPLES[usize::from(*number) % SAMPLES.len()];
            check(key, &edited(value, edits));
        }
        _ => {
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                return;
            };
            let key = std::str::from_utf8(&input[..end]).ok().and_then(|text| text.parse().ok());
            if let Some(key) = key {
                check(&key, &input[end + 1..]);
            }
        }
    }
});

fn edited(value: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    for &[low, high, byte] in edits.as_chunks().0 {
        let at = usize::from(u16::from_le_bytes([low, high])) % value.len();
        value[at] = byte;
    }
    value
}

fn check(key: &Key, value: &[u8]) {
    assert_eq!(key.to_string().parse().as_ref(), Ok(key));
    let Ok(fact) = decode(key, value) else {
        return;
    };
    assert_eq!(fact.key(), *key);
    let again = encode(&fact);
    // Defaults stand for fields that were left out, so it may be longer.
    if again.len() <= VALUE_BYTES_MAX {
        assert_eq!(decode(key, &again), Ok(fact));
    }
}
