//! Any bytes as the mesh's own entry: a roster within its bounds, or an error.
#![no_main]

use gossip::roster::{ADDRESSES_MAX, AGENT_BYTES_MAX, Roster};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|entry: &[u8]| {
    let Ok(roster) = Roster::decode(entry) else {
        return;
    };
    assert!(roster.agent.len() <= AGENT_BYTES_MAX && roster.addresses.len() <= ADDRESSES_MAX);
    assert_eq!(Roster::decode(&roster.encode()), Ok(roster));
});
