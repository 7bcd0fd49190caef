//! The entropy device (VIRTIO 5.4): what is asked for, and what becomes of the answer.

use machine::{
    Effect, Transport,
    parts::{Slot, limits},
};

use crate::rig::{Rig, SLOT, USED, into, out};
use crate::state;
use crate::world::{register, status};

pub fn make() -> Slot {
    Slot::entropy(SLOT, Transport::Modern)
}

pub fn make_legacy() -> Slot {
    Slot::entropy(SLOT, Transport::Legacy)
}

pub fn give(rig: &mut Rig, bytes: &[u8]) {
    rig.with(|slot, reach| match slot {
        Slot::Entropy(entropy) => entropy.receive(bytes, reach),
        _ => unreachable!(),
    });
}

/// How many bytes the device waits for, if it waits for any.
fn wanted(rig: &mut Rig) -> Option<u64> {
    let wanted = state::number(&mut rig.slot, "wanted");
    (wanted > 0).then_some(wanted)
}

#[test]
fn buffers_are_asked_for_and_filled_one_at_a_time() {
    let mut rig = Rig::started(make);
    assert_eq!(rig.read(register::DEVICE_ID), 4);
    let buffer = rig.alloc(32);
    let first = rig.offer(0, &[into(buffer, 4), into(buffer + 4, 4)]);
    let second = rig.offer(0, &[into(buffer + 8, 8)]);
    rig.notify(0);
    rig.notify(0);
    assert_eq!(rig.take_effects(), [Effect::EntropyWanted { bytes: 8 }]);
    assert_eq!(wanted(&mut rig), Some(8));
    give(&mut rig, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(rig.used(0), [(first, 8)]);
    assert_eq!(rig.take_interrupt(), USED);
    assert_eq!(rig.take_effects(), [Effect::EntropyWanted { bytes: 8 }]);
    give(&mut rig, &[9; 8]);
    assert_eq!(rig.used(0), [(second, 8)]);
    assert_eq!(rig.peek(buffer, 9), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(wanted(&mut rig), None);
}

#[test]
fn fewer_bytes_are_passed_on_and_more_are_cut() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(32);
    let heads = [
        rig.offer(0, &[into(buffer, 8)]),
        rig.offer(0, &[into(buffer + 8, 8)]),
    ];
    rig.notify(0);
    give(&mut rig, &[]);
    assert!(rig.used(0).is_empty());
    give(&mut rig, &[1; 3]);
    give(&mut rig, &[2; 100]);
    give(&mut rig, &[3; 100]);
    assert_eq!(rig.used(0), [(heads[0], 3), (heads[1], 8)]);
    assert_eq!(
        rig.peek(buffer, 18),
        [1, 1, 1, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0]
    );
}

#[test]
fn a_large_buffer_is_asked_for_up_to_the_limit() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(1 << 20);
    rig.offer(0, &[into(buffer, 1 << 20), into(buffer, 1 << 20)]);
    rig.notify(0);
    let bytes = limits::ENTROPY_BYTES_MAX;
    assert_eq!(rig.take_effects(), [Effect::EntropyWanted { bytes }]);
}

#[test]
fn bytes_that_come_after_a_reset_are_ignored() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(8);
    rig.offer(0, &[into(buffer, 8)]);
    rig.notify(0);
    rig.write(register::STATUS, status::RESET);
    give(&mut rig, &[7; 8]);
    assert_eq!(rig.peek(buffer, 8), [0; 8]);
    assert_eq!(wanted(&mut rig), None);
}

#[test]
fn an_unwritable_buffer_needs_a_reset() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(8);
    rig.offer(0, &[out(buffer, 8)]);
    rig.notify(0);
    assert!(rig.needs_reset());
    assert!(rig.take_effects().is_empty());
}
