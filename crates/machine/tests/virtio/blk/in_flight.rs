//! Requests of the block device that are not done: how many there may be, how they end, and what a reset or a
//! restore makes of them.

use super::*;

#[test]
fn a_failed_request_says_so() {
    let mut rig = Rig::started(make);
    let buffer = rig.place(&[0x55; 512]);
    let read = request(&mut rig, kind::IN, 0, &[into(buffer, 512)]);
    let write = request(&mut rig, kind::OUT, 0, &[out(buffer, 512)]);
    complete(&mut rig, 0, DiskStatus::Failed, &[1; 512]);
    complete(&mut rig, 1, DiskStatus::Failed, &[]);
    assert_eq!(
        (rig.peek(read, 1), rig.peek(write, 1)),
        (vec![IO_ERROR], vec![IO_ERROR])
    );
    assert_eq!(rig.peek(buffer, 512), [0x55; 512]);
    let lengths: Vec<u32> = rig.used(0).iter().map(|used| used.1).collect();
    assert_eq!(lengths, [0, 1]);
}

#[test]
fn completions_that_fit_no_request_change_nothing_or_fail_it() {
    let mut rig = Rig::started(make);
    let buffer = rig.place(&[0x55; 512]);
    let at = request(&mut rig, kind::IN, 0, &[into(buffer, 512)]);
    let before = rig.state();
    for id in [1, 2, u64::MAX] {
        complete(&mut rig, id, DiskStatus::Ok, &[0; 512]);
    }
    assert!(before == rig.state());
    complete(&mut rig, 0, DiskStatus::Ok, &[0; 511]);
    assert_eq!(
        (rig.peek(at, 1), rig.peek(buffer, 512)),
        (vec![IO_ERROR], vec![0x55; 512])
    );
    let after = rig.state();
    complete(&mut rig, 0, DiskStatus::Ok, &[0; 512]);
    assert!(after == rig.state());
}

#[test]
fn a_full_ring_is_in_flight_and_completes_in_any_order() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(128 * 512);
    let mut statuses = Vec::new();
    for i in 0..128 {
        let (header, status) = (header(&mut rig, 0, i), status(&mut rig));
        rig.offer_indirect(0, &[header, into(buffer + i * 512, 512), status]);
        statuses.push(status.address);
    }
    rig.notify(0);
    assert_eq!(disk_requests(&mut rig).len(), 128);
    assert_eq!(pending(&rig).len(), 128);
    for i in 0..128_u64 {
        let id = i * 37 % 128;
        complete(&mut rig, id, DiskStatus::Ok, &[id as u8; 512]);
        assert_eq!(rig.used(0).len(), 1);
    }
    for i in 0..128_u64 {
        assert_eq!(rig.peek(buffer + i * 512, 512), [i as u8; 512]);
        assert_eq!(rig.peek(statuses[i as usize], 1), [0]);
    }
}

#[test]
fn more_data_than_may_be_in_flight_waits_in_the_ring() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(1 << 20);
    for _ in 0..40 {
        let (header, status) = (header(&mut rig, 1, 0), status(&mut rig));
        rig.offer_indirect(0, &[header, out(buffer, 1 << 20), status]);
    }
    rig.notify(0);
    assert_eq!(disk_requests(&mut rig).len(), 32);
    rig.notify(0);
    assert!(disk_requests(&mut rig).is_empty());
    for id in 0..40 {
        complete(&mut rig, id, DiskStatus::Ok, &[]);
        assert_eq!(disk_requests(&mut rig).len(), usize::from(id < 8));
    }
    assert_eq!(rig.used(0).len(), 40);
    assert!(pending(&rig).is_empty());
}

#[test]
fn the_same_head_twice_is_two_requests_and_a_third_ring_full_is_too_many() {
    let mut rig = Rig::started_with(make, PLAIN, 4);
    let buffer = rig.alloc(512);
    let (header, status) = (header(&mut rig, 0, 0), status(&mut rig));
    let head = rig.offer(0, &[header, into(buffer, 512), status]);
    for _ in 0..3 {
        rig.offer_head(0, head);
    }
    rig.notify(0);
    assert_eq!(pending(&rig).len(), 4);
    rig.offer_head(0, head);
    rig.notify(0);
    assert!(rig.needs_reset());
    assert_eq!(rig.take_interrupt(), CONFIG);
    // What completes now is forgotten, and touches nothing.
    complete(&mut rig, 0, DiskStatus::Ok, &[1; 512]);
    assert_eq!(rig.peek(buffer, 512), [0; 512]);
    assert_eq!(pending(&rig).len(), 3);
}

#[test]
fn requests_without_header_or_status_need_a_reset() {
    let at = BASE + 0x100;
    for pieces in [
        vec![out(at, 15), into(at, 1)],
        vec![out(at, 16)],
        vec![into(at, 512)],
    ] {
        let mut rig = Rig::started(make);
        rig.offer(0, &pieces);
        rig.notify(0);
        assert!(rig.needs_reset());
        assert!(rig.take_effects().is_empty());
    }
}

#[test]
fn a_reset_forgets_requests_and_never_uses_an_id_again() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(512);
    request(&mut rig, kind::IN, 0, &[into(buffer, 512)]);
    rig.start(u64::MAX, 128);
    assert!(pending(&rig).is_empty());
    rig.take_effects();
    complete(&mut rig, 0, DiskStatus::Ok, &[1; 512]);
    assert_eq!(rig.peek(buffer, 512), [0; 512]);
    request(&mut rig, kind::IN, 0, &[into(buffer, 512)]);
    assert_eq!(disk_requests(&mut rig)[0].id, 1);
}

#[test]
fn requests_in_flight_are_reissued_after_a_restore_with_their_data() {
    let mut rig = Rig::started(make);
    let buffer = rig.place(&[0x77; 512]);
    request(&mut rig, kind::OUT, 4, &[out(buffer, 512)]);
    request(&mut rig, kind::IN, 4, &[into(buffer, 512)]);
    request(&mut rig, kind::FLUSH, 0, &[]);
    let issued = disk_requests(&mut rig);
    rig.poke(buffer, &[0; 512]);
    let fork = rig.fork();
    assert_eq!(pending(&fork), issued);
}
