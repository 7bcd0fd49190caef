//! The transport (VIRTIO 4.2): registers, status, features, reset.

use hart::Width;
use machine::{
    NetConfig, Transport,
    parts::{Device, Slot},
};

use crate::net::held;
use crate::rig::{NEEDS_RESET, Rig, SLOT, VERSION_1};
use crate::world::{register, status};

/// The vendor that QEMU's board names, by which kernels for that board know it.
const QEMU: u32 = 0x554d_4551;

fn net() -> Slot {
    Slot::net(
        SLOT,
        Transport::Modern,
        0,
        &NetConfig {
            mac: [2, 3, 4, 5, 6, 7],
        },
    )
}

fn empty() -> Slot {
    Slot::Empty(Transport::Modern)
}

#[test]
fn an_empty_slot_is_a_device_with_id_0() {
    let mut rig = Rig::new(empty);
    assert_eq!(rig.read(0), 0x7472_6976);
    assert_eq!(rig.read(4), 2);
    assert_eq!(rig.read(register::VENDOR_ID), QEMU);
    for offset in (8..0x200).step_by(4) {
        rig.write(offset, u32::MAX);
        let expected = if offset == register::VENDOR_ID { QEMU } else { 0 };
        assert_eq!(rig.read(offset), expected);
    }
}

#[test]
fn the_identity_registers_name_a_modern_device() {
    let mut rig = Rig::new(net);
    assert_eq!(rig.read(0), u32::from_le_bytes(*b"virt"));
    assert_eq!(rig.read(4), 2);
    assert_eq!(rig.read(register::DEVICE_ID), 1);
    assert_eq!(rig.read(register::VENDOR_ID), QEMU);
    assert_eq!(rig.read(register::QUEUE_SIZE_MAX), 1024);
    assert_eq!(rig.read(register::STATUS), status::RESET);
    assert_eq!(rig.read(0xfc), 0);
}

#[test]
fn registers_that_are_only_written_read_as_0() {
    let mut rig = Rig::started(net);
    rig.write(register::QUEUE_SELECT, 1);
    for offset in [
        0x14, 0x20, 0x24, 0x30, 0x38, 0x50, 0x64, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac,
    ] {
        assert_eq!(rig.read(offset), 0, "{offset:#x}");
    }
    // Those of version 1, and QueueReset, whose feature is not offered.
    for offset in [0x28, 0x3c, 0x40, 0xc0] {
        rig.write(offset, 1);
        assert_eq!(rig.read(offset), 0, "{offset:#x}");
    }
    assert_eq!(rig.read(register::STATUS), status::DRIVER_OK);
}

#[test]
fn registers_that_are_only_read_keep_their_values() {
    let mut rig = Rig::new(net);
    for offset in [0x00, 0x04, 0x08, 0x0c, 0x10, 0x34, 0x60, 0xb0, 0xfc, 0x100, 0x104] {
        let before = rig.read(offset);
        rig.write(offset, !before);
        assert_eq!(rig.read(offset), before, "{offset:#x}");
    }
}

#[test]
fn a_reset_sets_the_selectors_back() {
    // xv6-riscv reads and writes features without choosing which.
    let mut rig = Rig::new(net);
    let word_0 = rig.read(register::DEVICE_FEATURES);
    rig.write(register::DEVICE_FEATURES_SELECT, 1);
    rig.write(register::DRIVER_FEATURES_SELECT, 1);
    rig.write(register::QUEUE_SELECT, 77);
    assert_eq!(rig.read(register::DEVICE_FEATURES), 1);
    rig.write(register::DEVICE_FEATURES_SELECT, 2);
    assert_eq!(rig.read(register::DEVICE_FEATURES), 0);
    rig.write(register::STATUS, status::RESET);
    assert_eq!(rig.read(register::DEVICE_FEATURES), word_0);
    assert_eq!(rig.read(register::QUEUE_SIZE_MAX), 1024);
    rig.write(register::DRIVER_FEATURES, word_0);
    rig.write(register::STATUS, status::FEATURES_OK);
    assert_eq!(rig.read(register::STATUS), status::FEATURES_OK);
}

#[test]
fn an_interrupt_is_acknowledged_bit_by_bit() {
    let mut rig = Rig::started(net);
    let buffer = rig.alloc(128);
    rig.offer(0, &[crate::rig::into(buffer, 128)]);
    rig.notify(0);
    crate::net::arrive(&mut rig, crate::net::frame(60));
    // A buffer of the transmit queue that breaks a rule: a change of the configuration too.
    rig.offer(1, &[crate::rig::out(buffer, 1)]);
    rig.notify(1);
    let state = |rig: &mut Rig| (rig.read(register::INTERRUPT_STATUS), rig.irq.0 != 0);
    assert_eq!(state(&mut rig), (3, true));
    rig.write(register::INTERRUPT_ACKNOWLEDGE, !3);
    assert_eq!(state(&mut rig), (3, true));
    rig.write(register::INTERRUPT_ACKNOWLEDGE, 1);
    assert_eq!(state(&mut rig), (2, true));
    rig.write(register::INTERRUPT_ACKNOWLEDGE, 2);
    assert_eq!(state(&mut rig), (0, false));
}

#[test]
fn shared_memory_registers_read_minus_1() {
    let mut rig = Rig::new(net);
    rig.write(0xac, 0);
    for offset in [0xb0, 0xb4, 0xb8, 0xbc] {
        assert_eq!(rig.read(offset), u32::MAX);
    }
}

#[test]
fn features_that_are_not_offered_leave_features_ok_clear() {
    let mut rig = Rig::new(net);
    // A bit of word 0 that is not offered, then one of word 1; VERSION_1 is bit 0 of word 1.
    for (word_0, word_1) in [(1, 1), (0, 3)] {
        rig.write(register::STATUS, status::RESET);
        rig.write(register::STATUS, status::DRIVER);
        rig.write(register::DRIVER_FEATURES_SELECT, 0);
        rig.write(register::DRIVER_FEATURES, word_0);
        rig.write(register::DRIVER_FEATURES_SELECT, 1);
        rig.write(register::DRIVER_FEATURES, word_1);
        rig.write(register::STATUS, status::FEATURES_OK);
        assert_eq!(rig.read(register::STATUS), status::DRIVER);
    }
    // Nor is a feature beyond bit 63 taken.
    rig.write(register::STATUS, status::RESET);
    rig.write(register::STATUS, status::DRIVER);
    rig.write(register::DRIVER_FEATURES_SELECT, 1);
    rig.write(register::DRIVER_FEATURES, 1);
    rig.write(register::DRIVER_FEATURES_SELECT, 2);
    rig.write(register::DRIVER_FEATURES, 1);
    rig.write(register::STATUS, status::FEATURES_OK);
    assert_eq!(rig.read(register::STATUS), status::DRIVER);
}

#[test]
fn features_stay_as_they_were_at_features_ok() {
    let mut rig = Rig::new(net);
    assert_ne!(rig.offered() & VERSION_1, 0);
    rig.negotiate(0);
    rig.write(register::DRIVER_FEATURES_SELECT, 0);
    rig.write(register::DRIVER_FEATURES, u32::MAX);
    rig.write(register::STATUS, status::DRIVER_OK);
    assert_eq!(rig.read(register::STATUS), status::DRIVER_OK);
}

#[test]
fn a_driver_without_version_1_gets_features_ok() {
    // VIRTIO 6.1: a device may go on without. xv6-riscv never looks at the second word of features.
    let mut rig = Rig::new(net);
    rig.write(register::STATUS, status::ACKNOWLEDGE);
    rig.write(register::STATUS, status::DRIVER);
    let first_word = rig.read(register::DEVICE_FEATURES);
    rig.write(register::DRIVER_FEATURES, first_word);
    rig.write(register::STATUS, status::FEATURES_OK);
    assert_eq!(rig.read(register::STATUS), status::FEATURES_OK);
    rig.write(register::STATUS, status::DRIVER_OK);
    assert_eq!(rig.read(register::STATUS), status::DRIVER_OK);
}

#[test]
fn a_driver_that_never_asks_for_features_ok_has_accepted_none() {
    let mut rig = Rig::new(net);
    let offered = rig.offered();
    rig.write(register::DRIVER_FEATURES, offered as u32);
    rig.start_queues(8);
    rig.write(register::STATUS, 7);
    assert_eq!(rig.read(register::STATUS), 7);
    // Without VERSION_1 and merged buffers the header has 10 bytes.
    let buffer = rig.alloc(128);
    let head = rig.offer(0, &[crate::rig::into(buffer, 128)]);
    rig.notify(0);
    crate::net::arrive(&mut rig, crate::net::frame(60));
    assert_eq!(rig.used(0), [(head, 70)]);
}

#[test]
fn a_driver_that_goes_on_after_a_refusal_has_what_was_offered() {
    let mut rig = Rig::new(net);
    // CSUM is not offered, MRG_RXBUF is.
    rig.write(register::DRIVER_FEATURES, 1 | 1 << 15);
    rig.write(register::STATUS, status::FEATURES_OK);
    assert_eq!(rig.read(register::STATUS), status::DRIVER);
    rig.start_queues(8);
    rig.write(register::STATUS, status::DRIVER_OK);
    assert!(!rig.needs_reset());
    let buffer = rig.alloc(256);
    let heads = [0, 128].map(|at| rig.offer(0, &[crate::rig::into(buffer + at, 128)]));
    rig.notify(0);
    crate::net::arrive(&mut rig, crate::net::frame(200));
    assert_eq!(rig.used(0), [(heads[0], 128), (heads[1], 84)]);
}

#[test]
fn a_broken_queue_before_driver_ok_needs_a_reset_without_interrupt() {
    let mut rig = Rig::new(net);
    rig.negotiate(0);
    rig.write(register::QUEUE_SIZE, 0);
    rig.write(register::QUEUE_READY, 1);
    assert_eq!(rig.read(register::QUEUE_READY), 0);
    assert!(rig.needs_reset());
    assert_eq!(rig.take_interrupt(), 0);
}

#[test]
fn impossible_rings_do_not_become_ready() {
    let cases: [(u32, u64, u64, u64); 5] = [
        (0, 0x8000_0000, 0x8000_1000, 0x8000_2000),
        (2048, 0x8000_0000, 0x8001_0000, 0x8002_0000),
        (1 << 16, 0x8000_0000, 0x8000_1000, 0x8000_2000),
        (8, 0x1000, 0x8000_1000, 0x8000_2000),
        (8, 0x8000_0000, u64::MAX - 1, 0x8000_2000),
    ];
    for (size, descriptors, driver, device) in cases {
        let mut rig = Rig::new(net);
        rig.negotiate(0);
        rig.write(register::QUEUE_SIZE, size);
        for (register, address) in [
            (register::QUEUE_DESCRIPTORS_LOW, descriptors),
            (register::QUEUE_DRIVER_LOW, driver),
            (register::QUEUE_DEVICE_LOW, device),
        ] {
            rig.write(register, address as u32);
            rig.write(register + 4, (address >> 32) as u32);
        }
        rig.write(register::QUEUE_READY, 1);
        assert_eq!(
            (rig.read(register::QUEUE_READY), rig.needs_reset()),
            (0, true),
            "{size} {descriptors:x}"
        );
    }
}

#[test]
fn rings_of_any_alignment_and_size_are_served() {
    // VIRTIO 2.7 wants aligned rings and a power of two of the driver. QEMU's devices do without.
    for (size, [descriptors, driver, device]) in [
        (8, [8, 0, 0]),
        (8, [1, 1, 1]),
        (8, [0, 1, 2]),
        (5, [0, 0, 0]),
        (1000, [0, 0, 0]),
    ] {
        let mut rig = Rig::new(crate::rng::make);
        rig.negotiate(VERSION_1);
        rig.start_queue_at(size, [descriptors, driver, device]);
        rig.write(register::STATUS, status::DRIVER_OK);
        let buffer = rig.alloc(16);
        for round in 0..2 * u32::from(size) {
            let head = rig.offer(0, &[crate::rig::into(buffer, 16)]);
            rig.notify(0);
            crate::rng::give(&mut rig, &[round as u8; 16]);
            assert_eq!(
                rig.used(0),
                [(head, 16)],
                "{size} {descriptors} {driver} {device}"
            );
            assert_eq!(rig.peek(buffer, 16), [round as u8; 16]);
        }
        assert!(!rig.needs_reset());
    }
}

#[test]
fn an_access_of_64_bits_is_two_of_32() {
    // As on QEMU's board. Drivers write the addresses of their queues so.
    let mut rig = Rig::new(net);
    let read = |rig: &mut Rig, offset| rig.with(|slot, reach| slot.read(offset, Width::Double, reach));
    assert_eq!(read(&mut rig, 0), Some(0x2_7472_6976));
    assert_eq!(
        read(&mut rig, register::DEVICE_ID),
        Some(u64::from(QEMU) << 32 | 1)
    );
    assert_eq!(read(&mut Rig::new(empty), 0), Some(0x2_7472_6976));
    rig.negotiate(VERSION_1);
    rig.write(register::QUEUE_SIZE, 8);
    for (register, address) in [
        (register::QUEUE_DESCRIPTORS_LOW, 0x8000_0000),
        (register::QUEUE_DRIVER_LOW, 0x8000_1000),
        (register::QUEUE_DEVICE_LOW, 0x8000_2000),
    ] {
        assert!(rig.with(|slot, reach| slot.write(register, Width::Double, address, reach)));
    }
    rig.write(register::QUEUE_READY, 1);
    assert_eq!(rig.read(register::QUEUE_READY), 1);
}

#[test]
fn a_ready_queue_cannot_be_moved() {
    let mut rig = Rig::started(net);
    rig.write(register::QUEUE_SELECT, 0);
    rig.write(register::QUEUE_DESCRIPTORS_LOW, 0);
    rig.write(register::QUEUE_SIZE, 1);
    rig.offer(0, &[crate::rig::into(crate::rig::BASE, 64)]);
    rig.notify(0);
    assert!(!rig.needs_reset());
}

#[test]
fn queues_that_do_not_exist_are_ignored() {
    let mut rig = Rig::started(net);
    for index in [2, 3, 0xffff, u32::MAX] {
        rig.write(register::QUEUE_SELECT, index);
        assert_eq!(rig.read(register::QUEUE_SIZE_MAX), 0);
        rig.write(register::QUEUE_SIZE, 8);
        rig.write(register::QUEUE_READY, 1);
        assert_eq!(rig.read(register::QUEUE_READY), 0);
        rig.write(register::QUEUE_NOTIFY, index);
    }
    assert_eq!(rig.read(register::STATUS), status::DRIVER_OK);
}

#[test]
fn control_registers_answer_to_words_only() {
    let mut rig = Rig::new(net);
    for (offset, width) in [
        (0, Width::Byte),
        (0, Width::Half),
        (register::STATUS, Width::Byte),
    ] {
        assert_eq!(rig.with(|slot, reach| slot.read(offset, width, reach)), Some(0));
        assert!(rig.with(|slot, reach| slot.write(offset, width, 1, reach)));
    }
    assert_eq!(rig.read(register::STATUS), status::RESET);
}

#[test]
fn the_configuration_space_answers_to_every_width() {
    let mut rig = Rig::new(net);
    let mut read = |offset, width| rig.with(|slot, reach| slot.read(offset, width, reach)).unwrap();
    assert_eq!(read(register::CONFIG, Width::Byte), 2);
    assert_eq!(read(0x102, Width::Half), 0x0504);
    assert_eq!(read(register::CONFIG, Width::Word), 0x0504_0302);
    assert_eq!(read(register::CONFIG, Width::Double), 0x0001_0706_0504_0302);
    // Behind the last field there is nothing.
    assert_eq!((read(0x108, Width::Double), read(0xff8, Width::Double)), (0, 0));
}

#[test]
fn status_bits_once_set_stay_until_reset() {
    let mut rig = Rig::new(net);
    rig.write(register::STATUS, status::DRIVER);
    rig.write(register::STATUS, status::ACKNOWLEDGE);
    assert_eq!(rig.read(register::STATUS), status::DRIVER);
    rig.write(register::STATUS, 128 | NEEDS_RESET);
    assert_eq!(rig.read(register::STATUS), 131);
}

#[test]
fn stopping_a_queue_forgets_what_waited_in_it() {
    let mut rig = Rig::started(net);
    rig.with(|slot, reach| match slot {
        Slot::Net(net) => net.receive(vec![1; 60], reach),
        _ => unreachable!(),
    });
    assert_eq!(held(&mut rig), 1);
    rig.write(register::QUEUE_SELECT, 0);
    rig.write(register::QUEUE_READY, 0);
    assert_eq!(rig.read(register::QUEUE_READY), 0);
    assert_eq!(held(&mut rig), 0);
}
