//! Version 1 of the transport (VIRTIO 4.2.4), as kernels drive it that know no other.

use machine::{
    DiskOperation, DiskStatus, Transport,
    parts::{Device, Slot},
};

use crate::blk;
use crate::net::{self, arrive, frame};
use crate::rig::{BASE, Rig, USED, VERSION_1, into, out};
use crate::world::{kind, register, status};

const PAGE: u64 = 4096;

#[test]
fn it_is_version_1_with_32_bits_of_features() {
    let mut rig = Rig::new(blk::make_legacy);
    assert_eq!(rig.read(0), u32::from_le_bytes(*b"virt"));
    assert_eq!(rig.read(register::VERSION), 1);
    assert_eq!(rig.read(register::VENDOR_ID), 0x554d_4551);
    assert_eq!(rig.read(register::QUEUE_SIZE_MAX), 1024);
    // Any layout, indirect tables and events beside the disk's own.
    let offered = rig.offered();
    assert_eq!((offered >> 27, offered & VERSION_1), (7, 0));
    let mut empty = Rig::new(|| Slot::Empty(Transport::Legacy));
    assert_eq!(
        (empty.read(register::VERSION), empty.read(register::DEVICE_ID)),
        (1, 0)
    );
}

#[test]
fn registers_of_version_2_are_not_there() {
    let mut rig = Rig::new(blk::make_legacy);
    // A queue that a device of version 2 would find ready.
    rig.write(register::QUEUE_SIZE, 8);
    for (area, offset) in [
        (register::QUEUE_DESCRIPTORS_LOW, 0),
        (register::QUEUE_DRIVER_LOW, 0x1000),
        (register::QUEUE_DEVICE_LOW, 0x2000),
    ] {
        rig.write(area, (BASE + offset) as u32);
    }
    for offset in [0x44, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xfc] {
        rig.write(offset, 1);
        assert_eq!(rig.read(offset), 0, "{offset:#x}");
    }
    // Those that are only written.
    for offset in [register::GUEST_PAGE_SIZE, register::QUEUE_ALIGN] {
        rig.write(offset, 4096);
        assert_eq!(rig.read(offset), 0, "{offset:#x}");
    }
}

/// The way of xv6-riscv of 2020 and of other teaching kernels: DRIVER_OK first, then a queue of 8 entries in
/// two pages, and no word about alignment.
fn start_as_teaching_kernels_do(rig: &mut Rig) -> u64 {
    rig.write(register::STATUS, status::RESET);
    rig.write(register::STATUS, status::ACKNOWLEDGE);
    rig.write(register::STATUS, status::DRIVER);
    let features = rig.read(register::DEVICE_FEATURES) & !(3 << 28);
    rig.write(register::DRIVER_FEATURES, features);
    rig.write(register::STATUS, status::FEATURES_OK);
    rig.write(register::STATUS, status::DRIVER_OK);
    rig.write(register::GUEST_PAGE_SIZE, PAGE as u32);
    rig.write(register::QUEUE_SELECT, 0);
    rig.write(register::QUEUE_SIZE, 8);
    let pages = BASE + 0x10_0000;
    rig.write(register::QUEUE_PAGE, (pages / PAGE) as u32);
    pages
}

#[test]
fn a_teaching_kernel_reads_its_disk() {
    let mut rig = Rig::new(blk::make_legacy);
    let pages = start_as_teaching_kernels_do(&mut rig);
    let (header, data, end) = (BASE + 0x20_0000, BASE + 0x20_1000, BASE + 0x20_2000);
    rig.poke(header, &u64::from(kind::IN).to_le_bytes());
    rig.poke(header + 8, &3_u64.to_le_bytes());
    rig.describe(pages, 0, (header, 16, 1, 1));
    rig.describe(pages, 1, (data, 1024, 3, 2));
    rig.describe(pages, 2, (end, 1, 2, 0));
    // The available ring is behind 8 descriptors, the used ring in the next page.
    rig.poke(pages + 8 * 16 + 2, &[1, 0, 0, 0]);
    rig.write(register::QUEUE_NOTIFY, 0);
    let read = DiskOperation::Read {
        sector: 3,
        bytes: 1024,
    };
    assert_eq!(blk::asked(&mut rig), (0, read));
    blk::complete(&mut rig, 0, DiskStatus::Ok, &[0x5a; 1024]);
    assert_eq!(rig.peek(data, 1024), [0x5a; 1024]);
    assert_eq!(rig.peek(end, 1), [0]);
    assert_eq!(rig.peek_u16(pages + PAGE + 2), 1);
    assert_eq!(rig.take_interrupt(), USED);
}

#[test]
fn the_used_ring_is_aligned_as_the_driver_says() {
    let mut rig = Rig::new(blk::make_legacy);
    start_as_teaching_kernels_do(&mut rig);
    rig.write(register::QUEUE_PAGE, 0);
    rig.write(register::QUEUE_ALIGN, 64);
    let queue = BASE + 0x3000;
    rig.write(register::QUEUE_PAGE, (queue / PAGE) as u32);
    // A flush: 8 descriptors and an available ring of 22 bytes end at 150, and the used ring begins at 192.
    let (header, end) = (BASE + 0x20_0000, BASE + 0x20_2000);
    rig.poke(header, &u64::from(kind::FLUSH).to_le_bytes());
    rig.describe(queue, 0, (header, 16, 1, 1));
    rig.describe(queue, 1, (end, 1, 2, 0));
    rig.poke(queue + 8 * 16 + 2, &[1, 0, 0, 0]);
    rig.write(register::QUEUE_NOTIFY, 0);
    blk::complete(&mut rig, 0, DiskStatus::Ok, &[]);
    assert_eq!(rig.peek_u16(queue + 192 + 2), 1);
}

#[test]
fn the_queue_page_tells_whether_the_queue_is_used() {
    let mut rig = Rig::new(blk::make_legacy);
    assert_eq!(rig.read(register::QUEUE_PAGE), 0);
    let pages = start_as_teaching_kernels_do(&mut rig);
    assert_eq!(u64::from(rig.read(register::QUEUE_PAGE)), pages / PAGE);
    // A queue that is used does not move.
    rig.write(register::QUEUE_PAGE, 0x9_0000);
    assert_eq!(u64::from(rig.read(register::QUEUE_PAGE)), pages / PAGE);
    rig.write(register::QUEUE_PAGE, 0);
    assert_eq!(rig.read(register::QUEUE_PAGE), 0);
    // Outside RAM there is no queue.
    rig.write(register::QUEUE_PAGE, 1);
    assert_eq!(rig.read(register::QUEUE_PAGE), 0);
    assert!(rig.needs_reset());
}

#[test]
fn the_page_size_outlives_the_drivers_reset_but_not_the_button() {
    // Linux tells it before it resets the device.
    let mut rig = Rig::new(blk::make_legacy);
    rig.write(register::GUEST_PAGE_SIZE, PAGE as u32);
    rig.write(register::STATUS, status::RESET);
    rig.write(register::QUEUE_PAGE, (BASE / PAGE) as u32);
    assert_eq!(u64::from(rig.read(register::QUEUE_PAGE)), BASE / PAGE);
    rig.slot.reset();
    rig.write(register::QUEUE_PAGE, BASE as u32);
    assert_eq!(u64::from(rig.read(register::QUEUE_PAGE)), BASE);
}

#[test]
fn the_network_header_has_10_bytes_unless_buffers_are_merged() {
    const MRG_RXBUF: u64 = 1 << 15;
    for (features, header) in [(!MRG_RXBUF, 10), (u64::MAX, 12)] {
        let mut rig = Rig::started_with(net::make_legacy, features, 8);
        let buffer = rig.alloc(128);
        let head = rig.offer(0, &[into(buffer, 128)]);
        rig.notify(0);
        arrive(&mut rig, frame(60));
        assert_eq!(rig.used(0), [(head, header + 60)]);
        assert_eq!(rig.peek(buffer + u64::from(header), 60), frame(60));
        rig.offer(1, &[out(buffer, header + 60)]);
        rig.notify(1);
        assert_eq!(rig.take_effects().len(), 1);
    }
}

#[test]
fn buffers_are_taken_before_driver_ok() {
    // VIRTIO 3.1.2: legacy drivers often read the disk while they set it up.
    let mut rig = Rig::new(blk::make_legacy);
    rig.negotiate(0);
    rig.start_queues(8);
    blk::request(&mut rig, kind::FLUSH, 0, &[]);
    assert_eq!(blk::asked(&mut rig), (0, DiskOperation::Flush));
}

#[test]
fn features_are_accepted_by_writing_them() {
    // Linux never sets FEATURES_OK here, and uses indirect tables and events.
    let mut rig = Rig::started(blk::make_legacy);
    assert_eq!(rig.read(register::STATUS), status::LEGACY_DRIVER_OK);
    let header = rig.place(&u64::from(kind::FLUSH).to_le_bytes());
    let end = rig.alloc(1);
    rig.offer_indirect(0, &[out(header, 16), into(end, 1)]);
    rig.notify(0);
    assert!(!rig.needs_reset());
    assert_eq!(blk::asked(&mut rig), (0, DiskOperation::Flush));
    assert_eq!(rig.avail_event(0), 1);
}
