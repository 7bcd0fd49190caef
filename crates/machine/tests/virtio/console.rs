//! The console.

use machine::{
    Effect,
    virtio::{Slot, limits},
};

use crate::rig::{CONFIG, Rig, SLOT, USED, into, out};

pub fn make() -> Slot {
    Slot::console(SLOT, 2)
}

pub fn type_bytes(rig: &mut Rig, bytes: &[u8]) {
    rig.with(|slot, cx| match slot {
        Slot::Console(console) => console.receive(bytes, cx),
        _ => unreachable!(),
    });
}

fn held(rig: &Rig) -> usize {
    match &rig.slot {
        Slot::Console(console) => console.held(),
        _ => unreachable!(),
    }
}

#[test]
fn it_offers_only_the_transport_features() {
    let mut rig = Rig::new(make);
    assert_eq!(rig.read(8), 3);
    assert_eq!(rig.offered(), 1 << 32 | 3 << 28);
}

#[test]
fn what_the_guest_writes_leaves_with_its_port() {
    let mut rig = Rig::started(make);
    let text = rig.place(b"hello");
    rig.offer(1, &[out(text, 5)]);
    rig.notify(1);
    let expected = Effect::ConsoleWrite {
        port: 2,
        bytes: b"hello".to_vec(),
    };
    assert_eq!(rig.take_effects(), [expected]);
}

#[test]
fn a_write_is_cut_at_the_limit() {
    let mut rig = Rig::started(make);
    let text = rig.alloc(limits::CONSOLE_WRITE_MAX as u64 * 2);
    let length = limits::CONSOLE_WRITE_MAX as u32 * 2;
    rig.offer(1, &[out(text, length), out(text, length)]);
    rig.notify(1);
    match rig.take_effects().as_slice() {
        [Effect::ConsoleWrite { bytes, .. }] => assert_eq!(bytes.len(), limits::CONSOLE_WRITE_MAX),
        other => panic!("{} effects", other.len()),
    }
}

#[test]
fn typed_bytes_go_into_as_many_buffers_as_needed() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(64);
    let first = rig.offer(0, &[into(buffer, 2), into(buffer + 2, 2)]);
    let second = rig.offer(0, &[into(buffer + 4, 4)]);
    let third = rig.offer(0, &[into(buffer + 8, 4)]);
    rig.notify(0);
    type_bytes(&mut rig, b"abcdef");
    assert_eq!(rig.used(0), [(first, 4), (second, 2)]);
    assert_eq!(rig.peek(buffer, 6), b"abcdef");
    assert_eq!(rig.take_interrupt(), USED);
    type_bytes(&mut rig, b"gh");
    assert_eq!(rig.used(0), [(third, 2)]);
    assert_eq!(rig.peek(buffer + 8, 2), b"gh");
}

#[test]
fn typed_bytes_wait_for_buffers() {
    let mut rig = Rig::started(make);
    type_bytes(&mut rig, b"early");
    assert_eq!(held(&rig), 5);
    let buffer = rig.alloc(8);
    let first = rig.offer(0, &[into(buffer, 3)]);
    rig.notify(0);
    assert_eq!(rig.used(0), [(first, 3)]);
    assert_eq!(held(&rig), 2);
    let second = rig.offer(0, &[into(buffer + 3, 3)]);
    rig.notify(0);
    assert_eq!(rig.used(0), [(second, 2)]);
    assert_eq!(rig.peek(buffer, 5), b"early");
}

#[test]
fn typed_bytes_beyond_the_limit_are_dropped() {
    let mut rig = Rig::started(make);
    type_bytes(&mut rig, &vec![b'a'; limits::CONSOLE_HELD_MAX - 1]);
    type_bytes(&mut rig, b"bc");
    type_bytes(&mut rig, b"d");
    assert_eq!(held(&rig), limits::CONSOLE_HELD_MAX);
    let buffer = rig.alloc(limits::CONSOLE_HELD_MAX as u64);
    rig.offer(0, &[into(buffer, limits::CONSOLE_HELD_MAX as u32)]);
    rig.notify(0);
    assert_eq!(rig.peek(buffer + limits::CONSOLE_HELD_MAX as u64 - 2, 2), b"ab");
}

#[test]
fn an_unwritable_receive_buffer_needs_a_reset() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(8);
    rig.offer(0, &[out(buffer, 8)]);
    type_bytes(&mut rig, b"x");
    assert!(rig.needs_reset());
    assert_eq!(rig.take_interrupt(), CONFIG);
}
