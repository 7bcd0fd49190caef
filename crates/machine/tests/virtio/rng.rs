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
    let Slot::Entropy(entropy) = &rig.slot else {
        unreachable!()
    };
    // Whoever takes the machine over is told so.
    assert_eq!(u64::from(entropy.wanted().unwrap_or(0)), wanted);
    (wanted > 0).then_some(wanted)
}

/// What a device with an empty pool asks for.
const POOL: u32 = limits::ENTROPY_POOL_BYTES as u32;

#[test]
fn one_answer_serves_many_buffers_and_the_pool_is_filled_before_it_is_empty() {
    let mut rig = Rig::started(make);
    assert_eq!(rig.read(register::DEVICE_ID), 4);
    assert!(rig.take_effects().is_empty(), "nobody has asked");
    let buffer = rig.alloc(64);
    let first = rig.offer(0, &[into(buffer, 4), into(buffer + 4, 60)]);
    rig.notify(0);
    rig.notify(0);
    assert_eq!(rig.take_effects(), [Effect::EntropyWanted { bytes: POOL }]);
    assert_eq!(wanted(&mut rig), Some(u64::from(POOL)));
    let random: Vec<u8> = (0..POOL).map(|n| (n * n / 3) as u8).collect();
    give(&mut rig, &random);
    assert_eq!(rig.used(0), [(first, 64)]);
    assert_eq!(rig.take_interrupt(), USED);
    assert_eq!(rig.peek(buffer, 64), random[..64]);
    // Every further buffer is filled at once, with bytes that no other has got.
    let mut asked = Vec::new();
    for n in 1..64 {
        let head = rig.offer(0, &[into(buffer, 64)]);
        rig.notify(0);
        assert_eq!(rig.used(0), [(head, 64)]);
        assert_eq!(rig.peek(buffer, 64), random[n * 64..(n + 1) * 64]);
        asked.extend(rig.take_effects().into_iter().map(|effect| (n, effect)));
    }
    // Once, when half of the pool was gone: for as much as there was room for.
    let room = POOL / 2 + 64;
    assert_eq!(asked, [(33, Effect::EntropyWanted { bytes: room })]);
    give(&mut rig, &[7; 4096]);
    rig.offer(0, &[into(buffer, 64)]);
    rig.notify(0);
    assert_eq!(rig.peek(buffer, 64), [7; 64]);
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
    assert_eq!(rig.used(0), [(heads[0], 3)]);
    give(&mut rig, &[2; 10_000]);
    assert_eq!(rig.used(0), [(heads[1], 8)]);
    give(&mut rig, &[3; 100]);
    assert_eq!(
        rig.peek(buffer, 18),
        [1, 1, 1, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0]
    );
}

#[test]
fn a_large_buffer_is_filled_up_to_the_limit() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(1 << 20);
    let head = rig.offer(0, &[into(buffer, 1 << 20), into(buffer, 1 << 20)]);
    rig.notify(0);
    give(&mut rig, &[5; limits::ENTROPY_POOL_BYTES]);
    assert_eq!(rig.used(0), [(head, limits::ENTROPY_BYTES_MAX as u32)]);
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
