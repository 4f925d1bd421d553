//! Any bytes as a payload: changes in their order and within their bounds, or an error.
#![no_main]

use gossip::wire::{CHANGES_PER_PAYLOAD_MAX, decode_payload, encode_payload};
use gossip::{VALUE_BYTES_MAX, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(changes) = decode_payload(payload) else {
        return;
    };
    assert!(changes.len() as u64 <= CHANGES_PER_PAYLOAD_MAX);
    assert!(changes.is_sorted_by(|a, b| a.version < b.version));
    assert!(changes.iter().all(|change| change.version > Version::ZERO));
    assert!(changes.iter().all(|change| change.value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX)));
    assert_eq!(decode_payload(&encode_payload(&changes)), Ok(changes));
});
