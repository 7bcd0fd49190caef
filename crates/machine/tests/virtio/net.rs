//! The network device (VIRTIO 5.1): Ethernet frames in both directions, and what is dropped.

use machine::{
    Effect, NetConfig, Transport,
    parts::{Slot, limits},
};

use crate::rig::{BASE, MEMORY, Rig, SLOT, USED, VERSION_1, into, out};
use crate::state;
use crate::world::register;

/// VIRTIO 5.1.3: the device may spread a frame over several buffers.
const MRG_RXBUF: u64 = 1 << 15;

pub fn make() -> Slot {
    make_card(Transport::Modern)
}

pub fn make_legacy() -> Slot {
    make_card(Transport::Legacy)
}

fn make_card(transport: Transport) -> Slot {
    let mac = [2, 0, 0, 0, 0, 9];
    Slot::net(SLOT, transport, 1, &NetConfig { mac })
}

pub fn arrive(rig: &mut Rig, frame: Vec<u8>) {
    rig.with(|slot, reach| match slot {
        Slot::Net(net) => net.receive(frame, reach),
        _ => unreachable!(),
    });
}

/// How many frames the device holds for want of buffers.
pub fn held(rig: &mut Rig) -> usize {
    state::count(&mut rig.slot, "frame")
}

pub fn frame(length: usize) -> Vec<u8> {
    (0..length).map(|i| i as u8).collect()
}

#[test]
fn it_offers_its_address_and_its_link_is_up() {
    let mut rig = Rig::new(make);
    assert_eq!(rig.read(register::DEVICE_ID), 1);
    assert_eq!(rig.offered(), 1 << 32 | 3 << 28 | 1 << 5 | 1 << 15 | 1 << 16);
    assert_eq!(rig.read(register::CONFIG), 2);
    assert_eq!(rig.read(0x104), 0x0001_0900);
}

#[test]
fn frames_leave_without_header_in_order() {
    let mut rig = Rig::started(make);
    let header = rig.place(&[0; 12]);
    let bytes = rig.place(&frame(100));
    rig.offer(1, &[out(header, 12), out(bytes, 60)]);
    rig.offer_indirect(
        1,
        &[
            out(header, 5),
            out(header, 7),
            out(bytes, 50),
            out(bytes + 50, 50),
        ],
    );
    rig.notify(1);
    let expected = [60, 100].map(|length| Effect::NetTransmit {
        port: 1,
        frame: frame(length),
    });
    assert_eq!(rig.take_effects(), expected);
    assert_eq!(rig.used(1).len(), 2);
    assert_eq!(rig.take_interrupt(), USED);
}

#[test]
fn header_and_frame_may_share_a_piece() {
    let mut rig = Rig::started(make);
    let mut bytes = vec![0; 12];
    bytes.extend(frame(64));
    let address = rig.place(&bytes);
    rig.offer(1, &[out(address, 76)]);
    rig.notify(1);
    let frame = frame(64);
    assert_eq!(rig.take_effects(), [Effect::NetTransmit { port: 1, frame }]);
}

#[test]
fn frames_of_impossible_length_are_used_and_dropped() {
    let mut rig = Rig::started(make);
    let max = limits::FRAME_BYTES_MAX as u32;
    for (length, sent) in [
        (13, false),
        (14, true),
        (max, true),
        (max + 1, false),
        (4 << 20, false),
    ] {
        rig.offer(1, &[out(BASE, 12 + length)]);
        rig.notify(1);
        assert_eq!(rig.take_effects().len(), usize::from(sent), "{length}");
        assert_eq!(rig.used(1).len(), 1);
    }
}

#[test]
fn a_transmit_buffer_without_header_needs_a_reset() {
    let mut rig = Rig::started(make);
    rig.offer(1, &[out(BASE, 11)]);
    rig.notify(1);
    assert!(rig.needs_reset());
}

#[test]
fn a_frame_is_received_with_its_header() {
    for features in [u64::MAX, !MRG_RXBUF] {
        let mut rig = Rig::started_with(make, features, 8);
        let buffer = rig.place(&[0xff; 2048]);
        let head = rig.offer(0, &[into(buffer, 12), into(buffer + 12, 2036)]);
        rig.notify(0);
        arrive(&mut rig, frame(60));
        assert_eq!(rig.used(0), [(head, 72)]);
        assert_eq!(rig.peek(buffer, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(rig.peek(buffer + 12, 61), [frame(60), vec![0xff]].concat());
        assert_eq!(rig.take_interrupt(), USED);
    }
}

#[test]
fn without_version_1_and_merging_the_header_has_no_count() {
    // VIRTIO 5.1.6.1. With merged buffers the header has 12 bytes in any version.
    for (features, header) in [(!(VERSION_1 | MRG_RXBUF), 10), (!VERSION_1, 12), (!MRG_RXBUF, 12)] {
        let mut rig = Rig::started_with(make, features, 8);
        let buffer = rig.place(&[0xff; 128]);
        let head = rig.offer(0, &[into(buffer, header + 60)]);
        rig.notify(0);
        arrive(&mut rig, frame(60));
        assert_eq!(rig.used(0), [(head, header + 60)]);
        assert_eq!(rig.peek(buffer, 10), [0; 10]);
        assert_eq!(rig.peek(buffer + u64::from(header), 60), frame(60));
        let mut bytes = vec![0; header as usize];
        bytes.extend(frame(64));
        let address = rig.place(&bytes);
        rig.offer(1, &[out(address, header + 64)]);
        rig.notify(1);
        let frame = frame(64);
        assert_eq!(rig.take_effects(), [Effect::NetTransmit { port: 1, frame }]);
    }
}

#[test]
fn a_long_frame_is_merged_over_buffers() {
    let mut rig = Rig::started_with(make, u64::MAX, 8);
    let buffer = rig.alloc(4096);
    let heads: Vec<u16> = (0..4)
        .map(|i| rig.offer(0, &[into(buffer + i * 1024, 1024)]))
        .collect();
    rig.notify(0);
    arrive(&mut rig, frame(2500));
    assert_eq!(rig.used(0), [(heads[0], 1024), (heads[1], 1024), (heads[2], 464)]);
    assert_eq!(rig.peek(buffer + 10, 2), [3, 0]);
    assert_eq!(rig.peek(buffer + 12, 2500), frame(2500));
}

#[test]
fn a_frame_waits_until_there_are_buffers_enough() {
    let mut rig = Rig::started_with(make, u64::MAX, 8);
    let buffer = rig.alloc(4096);
    rig.offer(0, &[into(buffer, 1024)]);
    arrive(&mut rig, frame(1500));
    arrive(&mut rig, frame(20));
    assert_eq!((held(&mut rig), rig.used(0).len()), (2, 0));
    rig.offer(0, &[into(buffer + 1024, 1024)]);
    rig.notify(0);
    assert_eq!((held(&mut rig), rig.used(0).len()), (1, 2));
    assert_eq!(rig.peek(buffer + 12, 1500), frame(1500));
    let last = rig.offer(0, &[into(buffer, 32)]);
    rig.notify(0);
    assert_eq!((held(&mut rig), rig.used(0)), (0, vec![(last, 32)]));
}

#[test]
fn frames_beyond_the_limit_are_dropped() {
    let mut rig = Rig::started(make);
    for number in 0..limits::FRAMES_HELD_MAX + 10 {
        arrive(&mut rig, vec![number as u8; 14 + number]);
    }
    assert_eq!(held(&mut rig), limits::FRAMES_HELD_MAX);
    arrive(&mut rig, frame(13));
    arrive(&mut rig, frame(limits::FRAME_BYTES_MAX + 1));
    assert_eq!(held(&mut rig), limits::FRAMES_HELD_MAX);
    // The oldest come first.
    let buffer = rig.alloc(64);
    rig.offer(0, &[into(buffer, 26)]);
    rig.notify(0);
    assert_eq!(rig.peek(buffer + 12, 14), [0; 14]);
}

#[test]
fn frames_before_the_driver_runs_are_dropped() {
    let mut rig = Rig::new(make);
    arrive(&mut rig, frame(60));
    assert_eq!(held(&mut rig), 0);
}

#[test]
fn without_merging_a_frame_too_long_is_lost_and_the_buffer_kept() {
    let mut rig = Rig::started_with(make, !MRG_RXBUF, 8);
    let buffer = rig.alloc(128);
    let head = rig.offer(0, &[into(buffer, 100)]);
    arrive(&mut rig, frame(89));
    assert_eq!((held(&mut rig), rig.used(0).len()), (0, 0));
    arrive(&mut rig, frame(88));
    assert_eq!(rig.used(0), [(head, 100)]);
}

#[test]
fn a_frame_that_the_whole_ring_is_too_small_for_is_lost() {
    let mut rig = Rig::started_with(make, u64::MAX, 4);
    let buffer = rig.alloc(400);
    arrive(&mut rig, frame(389));
    arrive(&mut rig, frame(388));
    for i in 0..4 {
        rig.offer(0, &[into(buffer + i * 100, 100)]);
        rig.notify(0);
    }
    assert_eq!(rig.used(0).len(), 4);
    assert_eq!(rig.peek(buffer + 12, 388), frame(388));
    assert_eq!(held(&mut rig), 0);
}

#[test]
fn a_receive_buffer_too_small_for_the_header_needs_a_reset() {
    let mut rig = Rig::started(make);
    rig.offer(0, &[into(BASE, 11)]);
    arrive(&mut rig, frame(60));
    assert!(rig.needs_reset());
}

#[test]
fn a_receive_buffer_may_be_all_of_memory_but_no_more() {
    let mut rig = Rig::started(make);
    rig.offer(0, &[out(BASE, 1), into(BASE, MEMORY as u32 + 1)]);
    arrive(&mut rig, frame(60));
    assert!(rig.needs_reset());
}
