//! When a write of the block device is done: with or without a cache that the driver flushes (VIRTIO 5.2.5,
//! 5.2.6.2).

use super::*;

#[test]
fn for_a_driver_without_flush_a_write_is_done_when_it_is_durable() {
    let mut rig = Rig::started_with(make, !feature::FLUSH, 128);
    let buffer = rig.alloc(512);
    let at = request(&mut rig, kind::OUT, 0, &[out(buffer, 512)]);
    complete(&mut rig, 0, DiskStatus::Ok, &[]);
    assert_eq!((rig.peek(at, 1), rig.used(0).len()), (vec![0xee], 0));
    let requests = disk_requests(&mut rig);
    assert_eq!(
        (requests[1].id, &requests[1].operation),
        (1, &DiskOperation::Flush)
    );
    assert_eq!(pending(&rig), [requests[1].clone()]);
    complete(&mut rig, 1, DiskStatus::Ok, &[]);
    assert_eq!((rig.peek(at, 1), rig.used(0).len()), (vec![0], 1));
}

#[test]
fn a_driver_may_choose_that_a_write_is_done_when_it_is_durable() {
    // VIRTIO 5.2.5, `writeback`: offset 32.
    let mut rig = Rig::started(make);
    let writeback = register::CONFIG + 32;
    let buffer = rig.alloc(512);
    let asked_after_write = |rig: &mut Rig, id| {
        request(rig, kind::OUT, 0, &[out(buffer, 512)]);
        disk_requests(rig);
        complete(rig, id, DiskStatus::Ok, &[]);
        pending(rig)
    };
    assert_eq!(
        (rig.read(writeback), asked_after_write(&mut rig, 0).len()),
        (1, 0)
    );
    rig.write(writeback, 0);
    assert_eq!(rig.read(writeback), 0);
    assert_eq!(asked_after_write(&mut rig, 1)[0].operation, DiskOperation::Flush);
    complete(&mut rig, 2, DiskStatus::Ok, &[]);
    rig.write(writeback, 1);
    assert_eq!(
        (rig.read(writeback), asked_after_write(&mut rig, 3).len()),
        (1, 0)
    );
    rig.write(writeback, 0);
    rig.start(u64::MAX, 16);
    assert_eq!(rig.read(writeback), 1);
}

#[test]
fn the_cache_is_no_choice_of_a_driver_that_did_not_ask_for_it() {
    let writeback = register::CONFIG + 32;
    let mut rig = Rig::started_with(make, !feature::CONFIG_WCE, 16);
    rig.write(writeback, 0);
    assert_eq!(rig.read(writeback), 1);
    // Nor of one that could not flush it.
    let mut rig = Rig::started_with(make, !feature::FLUSH, 16);
    rig.write(writeback, 1);
    assert_eq!(rig.read(writeback), 0);
}

#[test]
fn flushes_of_legacy_drivers_and_their_bit_for_barriers_are_known() {
    let mut rig = Rig::started_with(make, 0, 16);
    let buffer = rig.alloc(512);
    let barrier = 1 << 31;
    for (id, kind, data, expected) in [
        (0, 5, None, DiskOperation::Flush),
        (1, barrier | kind::IN, Some(into(buffer, 512)), read(0, 512)),
    ] {
        request(&mut rig, kind, 0, data.as_slice());
        assert_eq!(asked(&mut rig), (id, expected));
        complete(&mut rig, id, DiskStatus::Failed, &[]);
    }
}
