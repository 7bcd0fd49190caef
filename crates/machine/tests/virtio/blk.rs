//! The block device (VIRTIO 5.2): what a driver's requests become, and what it is answered.

use machine::{
    DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, Transport,
    parts::{Slot, limits},
};

use crate::rig::{BASE, CONFIG, MEMORY, PLAIN, Piece, Rig, SLOT, USED, into, out};
use crate::world::{kind, register};

/// Feature bits as the specification numbers them (VIRTIO 5.2.3).
mod feature {
    pub const RO: u64 = 1 << 5;
    pub const FLUSH: u64 = 1 << 9;
    pub const CONFIG_WCE: u64 = 1 << 11;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

const SECTORS: u64 = 10_000;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

pub fn make() -> Slot {
    make_disk(Transport::Modern, false, SECTORS)
}

fn make_read_only() -> Slot {
    make_disk(Transport::Modern, true, SECTORS)
}

/// A disk of a terabyte.
fn make_large() -> Slot {
    make_disk(Transport::Modern, false, 1 << 31)
}

pub fn make_legacy() -> Slot {
    make_disk(Transport::Legacy, false, SECTORS)
}

fn make_disk(transport: Transport, read_only: bool, sectors: u64) -> Slot {
    let config = DiskConfig {
        sectors,
        read_only,
        serial: "disk-0123456789abcdefghij".into(),
    };
    Slot::block(SLOT, transport, 5, &config)
}

pub fn complete(rig: &mut Rig, id: u64, status: DiskStatus, data: &[u8]) {
    rig.with(|slot, reach| match slot {
        Slot::Block(block) => block.complete(id, status, data, reach),
        _ => unreachable!(),
    });
}

fn pending(rig: &Rig) -> Vec<DiskRequest> {
    match &rig.slot {
        Slot::Block(block) => block.pending().collect(),
        _ => unreachable!(),
    }
}

fn header(rig: &mut Rig, kind: u32, sector: u64) -> Piece {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(sector.to_le_bytes());
    out(rig.place(&bytes), 16)
}

/// Where a request's status will be: not a status until then.
fn status(rig: &mut Rig) -> Piece {
    into(rig.place(&[0xee]), 1)
}

/// Offers a request and notifies; returns where the status will be.
pub fn request(rig: &mut Rig, kind: u32, sector: u64, data: &[Piece]) -> u64 {
    let (header, status) = (header(rig, kind, sector), status(rig));
    let pieces = [&[header], data, &[status]].concat();
    rig.offer(0, &pieces);
    rig.notify(0);
    status.address
}

fn disk_requests(rig: &mut Rig) -> Vec<DiskRequest> {
    let effects = rig.take_effects();
    let requests = effects.into_iter().map(|effect| match effect {
        Effect::Disk(request) => request,
        other => panic!("{other:?}"),
    });
    requests.collect()
}

fn range(rig: &mut Rig, sector: u64, sectors: u32, flags: u32) -> Piece {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    out(rig.place(&bytes), 16)
}

/// The request was answered at once, with this status.
fn assert_refused(rig: &mut Rig, at: u64, expected: u8, what: &str) {
    assert_eq!(rig.peek(at, 1), [expected], "{what}");
    assert_eq!(rig.used(0).len(), 1, "{what}");
    assert!(rig.take_effects().is_empty(), "{what}");
    assert!(pending(rig).is_empty(), "{what}");
    assert!(!rig.needs_reset(), "{what}");
}

#[test]
fn the_configuration_space_has_capacity_and_limits() {
    let mut rig = Rig::new(make);
    assert_eq!(rig.read(register::DEVICE_ID), 2);
    assert_eq!(rig.read(register::QUEUE_SIZE_MAX), 1024);
    let words = [0, 8, 12, 20, 36, 40, 44, 48, 52, 56].map(|offset| rig.read(register::CONFIG + offset));
    assert_eq!(words, [10_000, 0, 254, 512, 1 << 21, 1, 8, 1 << 21, 1, 1]);
    // Geometry of 9 cylinders, 16 heads and 63 sectors; topology of nothing special; a cache.
    let words = [16, 24, 28, 32].map(|offset| rig.read(register::CONFIG + offset));
    assert_eq!(words, [0x3f10_0009, 0, 0, 1]);
    let features = 1 << 2 | 1 << 4 | 1 << 10 | 1 << 11 | 1 << 6 | 1 << 9 | 1 << 13 | 1 << 14;
    assert_eq!(rig.offered(), 1 << 32 | 3 << 28 | features);
    assert_eq!(
        Rig::new(make_read_only).offered() & (feature::RO | feature::DISCARD),
        feature::RO
    );
}

#[test]
fn a_read_goes_into_memory_at_its_completion() {
    let mut rig = Rig::started(make);
    let buffer = rig.alloc(1536);
    let at = request(
        &mut rig,
        kind::IN,
        7,
        &[into(buffer, 500), into(buffer + 500, 1036)],
    );
    let operation = DiskOperation::Read {
        sector: 7,
        bytes: 1536,
    };
    let expected = DiskRequest {
        disk: 5,
        id: 0,
        operation,
    };
    assert_eq!(disk_requests(&mut rig), pending(&rig));
    assert_eq!(pending(&rig), [expected]);
    assert_eq!((rig.used(0).len(), rig.take_interrupt()), (0, 0));
    let data: Vec<u8> = (0..1536).map(|i| (i / 7) as u8).collect();
    complete(&mut rig, 0, DiskStatus::Ok, &data);
    assert_eq!(rig.peek(buffer, 1536), data);
    assert_eq!(rig.peek(at, 1), [0]);
    assert_eq!(rig.used(0)[0].1, 1537);
    assert_eq!(rig.take_interrupt(), USED);
    assert!(pending(&rig).is_empty());
}

#[test]
fn write_data_is_copied_out_at_submission() {
    // FT 3.4-b.
    let mut rig = Rig::started(make);
    let buffer = rig.place(&[0xaa; 1024]);
    let at = request(&mut rig, kind::OUT, 3, &[out(buffer, 24), out(buffer + 24, 1000)]);
    rig.poke(buffer, &[0xbb; 1024]);
    let operation = DiskOperation::Write {
        sector: 3,
        data: vec![0xaa; 1024].into(),
    };
    assert_eq!(disk_requests(&mut rig)[0].operation, operation);
    assert_eq!(pending(&rig)[0].operation, operation);
    complete(&mut rig, 0, DiskStatus::Ok, &[]);
    assert_eq!((rig.peek(at, 1), rig.used(0)[0].1), (vec![0], 1));
}

#[test]
fn write_data_exists_once_however_many_hold_the_request() {
    let mut rig = Rig::started(make);
    let buffer = rig.place(&[0xaa; 1024]);
    request(&mut rig, kind::OUT, 3, &[out(buffer, 1024)]);
    let place = |request: &DiskRequest| match &request.operation {
        DiskOperation::Write { data, .. } => (data.as_ptr(), data.len()),
        other => panic!("{other:?}"),
    };
    let submitted = disk_requests(&mut rig);
    assert_eq!(place(&submitted[0].clone()), place(&pending(&rig)[0]));
}

#[test]
fn framing_does_not_matter() {
    // VIRTIO 2.7.4.1: header split, status in the same piece as the data.
    let mut rig = Rig::started(make);
    let header = header(&mut rig, 0, 2).address;
    let buffer = rig.place(&[0xee; 513]);
    let pieces = [out(header, 3), out(header + 3, 13), into(buffer, 513)];
    rig.offer_indirect(0, &pieces);
    rig.notify(0);
    complete(&mut rig, 0, DiskStatus::Ok, &[9; 512]);
    assert_eq!(rig.peek(buffer, 513), [vec![9; 512], vec![0]].concat());
    assert_eq!(rig.used(0)[0].1, 513);
}

#[test]
fn flush_discard_and_write_zeroes_leave_the_device() {
    let mut rig = Rig::started(make);
    request(&mut rig, kind::FLUSH, 0, &[]);
    let piece = range(&mut rig, 8, 16, 0);
    request(&mut rig, kind::DISCARD, 0, &[piece]);
    let piece = range(&mut rig, SECTORS - 1, 1, 0);
    request(&mut rig, kind::WRITE_ZEROES, 0, &[piece]);
    let piece = range(&mut rig, 0, 2, 1);
    request(&mut rig, kind::WRITE_ZEROES, 0, &[piece]);
    let operations: Vec<DiskOperation> = disk_requests(&mut rig)
        .into_iter()
        .map(|request| request.operation)
        .collect();
    let zeroes = |sector, sectors, unmap| DiskOperation::WriteZeroes {
        sector,
        sectors,
        unmap,
    };
    let discard = DiskOperation::Discard {
        sector: 8,
        sectors: 16,
    };
    let last = SECTORS - 1;
    assert_eq!(
        operations,
        [
            DiskOperation::Flush,
            discard,
            zeroes(last, 1, false),
            zeroes(0, 2, true)
        ]
    );
    for id in 0..4 {
        complete(&mut rig, id, DiskStatus::Ok, &[]);
    }
    assert_eq!(rig.used(0).iter().map(|used| used.1).collect::<Vec<_>>(), [1; 4]);
}

#[test]
fn the_serial_is_answered_at_once() {
    let mut rig = Rig::started(make);
    let buffer = rig.place(&[0xff; 32]);
    let at = request(&mut rig, kind::GET_ID, 0, &[into(buffer, 20)]);
    assert_eq!(rig.peek(buffer, 21), b"disk-0123456789abcde\xff");
    assert_eq!(rig.used(0)[0].1, 21);
    assert_refused_is_ok(&mut rig, at);
    // A short buffer gets the beginning.
    request(&mut rig, kind::GET_ID, 0, &[into(buffer, 4)]);
    assert_eq!(rig.used(0)[0].1, 5);
    // A long one is filled from its start.
    request(&mut rig, kind::GET_ID, 0, &[into(buffer, 32)]);
    assert_eq!(rig.used(0)[0].1, 20);
}

fn assert_refused_is_ok(rig: &mut Rig, at: u64) {
    assert_eq!(rig.peek(at, 1), [0]);
    assert!(rig.take_effects().is_empty());
}

#[test]
fn reads_and_writes_out_of_range_or_of_no_whole_sectors_fail() {
    let mut rig = Rig::started(make);
    let cases = [
        (SECTORS, 512),
        (SECTORS - 1, 1024),
        (u64::MAX, 512),
        (u64::MAX / 512, 512),
        (0, 1),
        (0, 511),
        (0, 513),
        (0, MEMORY as u32),
    ];
    for (sector, length) in cases {
        for (kind, piece) in [(kind::IN, into(BASE, length)), (kind::OUT, out(BASE, length))] {
            // Reads in place would overwrite the rings: the request must not get that far.
            let at = request(&mut rig, kind, sector, &[piece]);
            assert_refused(&mut rig, at, IO_ERROR, &format!("{kind} {sector} {length}"));
        }
    }
}

#[test]
fn no_data_is_moved_at_once() {
    let mut rig = Rig::started(make);
    for kind in [kind::IN, kind::OUT] {
        let at = request(&mut rig, kind, 0, &[]);
        assert_refused(&mut rig, at, 0, "no data");
        let at = request(&mut rig, kind, SECTORS + 1, &[]);
        assert_refused(&mut rig, at, IO_ERROR, "no data, beyond the disk");
    }
}

/// Bytes of 0x1001 sectors, which U-Boot reads at once.
const LONG: u32 = 0x1001 * 512;
/// Bytes of its first part.
const FIRST: u32 = LONG - 512;

fn read(sector: u64, bytes: u32) -> DiskOperation {
    DiskOperation::Read { sector, bytes }
}

/// What the only request in flight asks of the disk, and the request's number.
pub fn asked(rig: &mut Rig) -> (u64, DiskOperation) {
    let mut requests = disk_requests(rig);
    assert_eq!(requests, pending(rig));
    assert_eq!(requests.len(), 1);
    let request = requests.remove(0);
    (request.id, request.operation)
}

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

#[test]
fn malformed_ranges_and_unknown_requests_are_refused() {
    let mut rig = Rig::started(make);
    let too_many = limits::ZERO_SECTORS_MAX + 1;
    let cases = [
        (kind::DISCARD, 0, 8, 1, UNSUPPORTED), // VIRTIO 5.2.6.2: no unmap flag in a discard
        (kind::DISCARD, 0, 8, 2, UNSUPPORTED),
        (kind::WRITE_ZEROES, 0, 8, 2, UNSUPPORTED),
        (kind::DISCARD, SECTORS, 1, 0, IO_ERROR),
        (kind::WRITE_ZEROES, SECTORS - 1, 2, 0, IO_ERROR),
        (kind::WRITE_ZEROES, u64::MAX, 2, 0, IO_ERROR),
        (kind::DISCARD, 0, 0, 0, IO_ERROR),
        (kind::DISCARD, 0, too_many, 0, IO_ERROR),
    ];
    for (kind, sector, sectors, flags, expected) in cases {
        let piece = range(&mut rig, sector, sectors, flags);
        let at = request(&mut rig, kind, 0, &[piece]);
        assert_refused(
            &mut rig,
            at,
            expected,
            &format!("{kind} {sector} {sectors} {flags}"),
        );
    }
    let piece = range(&mut rig, 0, 1, 0);
    let at = request(&mut rig, kind::DISCARD, 0, &[piece, piece]);
    assert_refused(&mut rig, at, IO_ERROR, "two ranges");
    let at = request(&mut rig, kind::DISCARD, 0, &[]);
    assert_refused(&mut rig, at, IO_ERROR, "no range");
    for kind in [2, 3, 6, 7, 9, 10, 12, 14, 16, 99, u32::MAX] {
        let at = request(&mut rig, kind, 0, &[]);
        assert_refused(&mut rig, at, UNSUPPORTED, &format!("kind {kind}"));
    }
}

#[test]
fn features_that_were_not_accepted_are_not_served() {
    let mut rig = Rig::started_with(make, !(feature::DISCARD | feature::WRITE_ZEROES), 128);
    let piece = range(&mut rig, 0, 1, 0);
    for kind in [kind::DISCARD, kind::WRITE_ZEROES] {
        let at = request(&mut rig, kind, 0, &[piece]);
        assert_refused(&mut rig, at, UNSUPPORTED, "not accepted");
    }
}

#[test]
fn a_read_only_disk_fails_what_writes() {
    let mut rig = Rig::started(make_read_only);
    let buffer = rig.alloc(512);
    let piece = range(&mut rig, 0, 1, 0);
    for (kind, data) in [
        (kind::OUT, out(buffer, 512)),
        (kind::DISCARD, piece),
        (kind::WRITE_ZEROES, piece),
    ] {
        let at = request(&mut rig, kind, 0, &[data]);
        assert_refused(&mut rig, at, IO_ERROR, "read-only");
    }
    request(&mut rig, kind::IN, 0, &[into(buffer, 512)]);
    assert_eq!(pending(&rig).len(), 1);
}

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

#[test]
fn a_disk_that_has_grown_is_told_and_its_new_sectors_are_served() {
    let mut rig = Rig::started(make);
    let grow = |rig: &mut Rig, sectors| {
        rig.with(|slot, reach| match slot {
            Slot::Block(block) => block.grow(sectors, reach),
            _ => unreachable!(),
        });
    };
    let capacity = |rig: &mut Rig| {
        u64::from(rig.read(register::CONFIG)) | u64::from(rig.read(register::CONFIG + 4)) << 32
    };
    let before = rig.read(register::CONFIG_GENERATION);
    // A disk that shrank, or has the size that it had, is no news.
    for sectors in [0, SECTORS - 1, SECTORS] {
        grow(&mut rig, sectors);
    }
    assert_eq!((capacity(&mut rig), rig.take_interrupt()), (SECTORS, 0));
    grow(&mut rig, SECTORS + (1 << 33));
    assert_eq!(capacity(&mut rig), SECTORS + (1 << 33));
    assert_ne!(rig.read(register::CONFIG_GENERATION), before, "VIRTIO 2.5.2");
    assert_eq!(rig.take_interrupt(), 2, "VIRTIO 4.2.2: a configuration change");
    let header = header(&mut rig, kind::IN, SECTORS);
    let (data, status) = (rig.alloc(512), rig.alloc(1));
    rig.offer(0, &[header, into(data, 512), into(status, 1)]);
    rig.notify(0);
    assert_eq!(pending(&rig).len(), 1);
    // A reset of the device is no reason to forget how large the disk is.
    rig.write(register::STATUS, 0);
    assert_eq!(capacity(&mut rig), SECTORS + (1 << 33));
    grow(&mut rig, SECTORS + (1 << 34));
    assert_eq!(rig.read(register::INTERRUPT_STATUS), 0, "no driver, no interrupt");
}
