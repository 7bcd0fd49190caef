//! Requests of the block device that are longer than what is asked of the disk at once: they are served in
//! parts, one after the other.

use super::*;

/// Bytes of 0x1001 sectors, which U-Boot reads at once.
const LONG: u32 = 0x1001 * 512;
/// Bytes of its first part.
const FIRST: u32 = LONG - 512;

#[test]
fn a_long_read_is_served_in_parts_to_a_driver_that_agreed_to_no_limit() {
    let mut rig = Rig::started_with(make, 0, 16);
    let buffer = rig.alloc(LONG.into());
    let at = request(
        &mut rig,
        kind::IN,
        7,
        &[into(buffer, 1000), into(buffer + 1000, LONG - 1000)],
    );
    assert_eq!(asked(&mut rig), (0, read(7, FIRST)));
    let data: Vec<u8> = (0..LONG).map(|i| (i / 509) as u8).collect();
    let (first, last) = data.split_at(FIRST as usize);
    complete(&mut rig, 0, DiskStatus::Ok, first);
    assert_eq!((rig.peek(at, 1), rig.used(0).len()), (vec![0xee], 0));
    assert_eq!(asked(&mut rig), (1, read(7 + 0x1000, 512)));
    complete(&mut rig, 1, DiskStatus::Ok, last);
    assert_eq!((rig.peek(at, 1), rig.used(0)[0].1), (vec![0], LONG + 1));
    assert_eq!(rig.take_interrupt(), USED);
    assert!(rig.peek(buffer, LONG as usize) == data);
    assert!(pending(&rig).is_empty());
}

#[test]
fn a_long_write_is_served_in_parts_and_flushed_once_at_the_end() {
    // The driver has not accepted FLUSH, so the request is done when it is durable.
    let mut rig = Rig::started_with(make, 0, 16);
    let data: Vec<u8> = (0..LONG).map(|i| (i / 509) as u8).collect();
    let buffer = rig.place(&data);
    let at = request(
        &mut rig,
        kind::OUT,
        7,
        &[out(buffer, 1000), out(buffer + 1000, LONG - 1000)],
    );
    let write = |sector, data: &[u8]| DiskOperation::Write {
        sector,
        data: data.to_vec().into(),
    };
    let (first, last) = data.split_at(FIRST as usize);
    assert!(asked(&mut rig) == (0, write(7, first)));
    complete(&mut rig, 0, DiskStatus::Ok, &[]);
    assert!(asked(&mut rig) == (1, write(7 + 0x1000, last)));
    complete(&mut rig, 1, DiskStatus::Ok, &[]);
    assert_eq!(asked(&mut rig), (2, DiskOperation::Flush));
    assert_eq!((rig.peek(at, 1), rig.used(0).len()), (vec![0xee], 0));
    complete(&mut rig, 2, DiskStatus::Ok, &[]);
    assert_eq!((rig.peek(at, 1), rig.used(0)[0].1), (vec![0], 1));
}

#[test]
fn a_part_that_fails_fails_the_request() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(LONG.into());
    let at = request(&mut rig, kind::IN, 0, &[into(buffer, LONG)]);
    complete(&mut rig, 0, DiskStatus::Ok, &vec![1; FIRST as usize]);
    complete(&mut rig, 1, DiskStatus::Failed, &[]);
    assert_eq!((rig.peek(at, 1), rig.used(0).len()), (vec![IO_ERROR], 1));
    assert!(pending(&rig).is_empty());
}

#[test]
fn a_request_between_two_parts_goes_on_after_a_restore() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(LONG.into());
    request(&mut rig, kind::IN, 0, &[into(buffer, LONG)]);
    complete(&mut rig, 0, DiskStatus::Ok, &vec![1; FIRST as usize]);
    let mut fork = rig.fork();
    assert_eq!(pending(&fork)[0].operation, read(0x1000, 512));
    for rig in [&mut rig, &mut fork] {
        complete(rig, 1, DiskStatus::Ok, &[2; 512]);
        assert_eq!(rig.used(0)[0].1, LONG + 1);
    }
    assert!(rig.state() == fork.state());
}

#[test]
fn a_request_for_more_than_memory_is_bounded() {
    // Descriptors may name the same memory again and again: 2 GiB of data in 8 MiB of memory.
    let mut rig = Rig::started(make_large);
    let all = MEMORY as u32;
    let room = |count: usize, rest: u32| [vec![into(BASE, all); count], vec![into(BASE, rest)]].concat();
    for pieces in [room(255, all - 511), room(511, all), vec![into(BASE, all); 1022]] {
        let at = request(&mut rig, kind::IN, 0, &pieces);
        assert_refused(&mut rig, at, IO_ERROR, "2 GiB and more");
    }
    request(&mut rig, kind::IN, 0, &room(255, all - 512));
    assert_eq!(asked(&mut rig).1, read(0, limits::PART_BYTES_MAX));
    request(&mut rig, kind::OUT, 0, &[out(BASE, all)]);
    let held: usize = pending(&rig)
        .iter()
        .map(|request| match &request.operation {
            DiskOperation::Write { data, .. } => data.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(held, limits::PART_BYTES_MAX as usize);
}

#[test]
fn a_request_of_as_many_segments_as_the_driver_is_told_is_taken() {
    let mut rig = Rig::started_with(make, u64::MAX, 256);
    let buffer = rig.alloc(4096);
    let pieces = vec![out(buffer, 4096); limits::SEGMENTS_MAX as usize];
    request(&mut rig, kind::OUT, 0, &pieces);
    match asked(&mut rig).1 {
        DiskOperation::Write { data, .. } => assert_eq!(data.len(), 254 << 12),
        other => panic!("{other:?}"),
    }
}
