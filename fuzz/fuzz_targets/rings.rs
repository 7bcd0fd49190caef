//! Any bytes as a guest's driver and as its peers: no device panics, hangs or grows without bound.
//!
//! The world in which that is tried is a file of machine's tests, which play random bytes in it (`hostile`).
#![no_main]

#[path = "../../crates/machine/tests/virtio/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use world::{Bytes, World};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let mut world = World::new(*kind).unwrap();
    let mut bytes = Bytes(rest);
    while !bytes.is_empty() {
        // The world asserts by itself what must hold.
        world.act(&mut bytes);
    }
});
