//! The block device (VIRTIO 5.2): what a driver's requests become, and what it is answered.

mod durable;
mod in_flight;
mod parts;

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
