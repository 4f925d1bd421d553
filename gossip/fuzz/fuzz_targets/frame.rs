//! Any bytes as a frame: messages or an error, and what was understood can be said again.
#![no_main]

use bytes::Bytes;
use gossip::message::Message;
use gossip::wire::{Classes, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let messages: Vec<Message> = decode(Bytes::copy_from_slice(frame)).map_while(Result::ok).collect();
    let mut again = Vec::new();
    let mut classes = Classes::default();
    for message in &messages {
        encode(message, &mut again);
        classes += Classes::of(message);
    }
    assert_eq!(classes.total(), again.len());
    let decoded: Result<Vec<Message>, _> = decode(again.into()).collect();
    assert_eq!(decoded.as_ref(), Ok(&messages));
});
