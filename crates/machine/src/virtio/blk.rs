//! virtio-blk (VIRTIO 5.2): the guest's disk requests become effects, completions come back as inputs.
//!
//! Write data is copied out, once, when the guest submits; read data goes in only when the completion is injected
//! (FT 3.4-b). What is malformed or out of range never leaves the device. Requests in flight are state,
//! see [`super::pending`].

use hart::{Ram, Visit, Visitor};

use super::{
    Broken, Function, Rings, VirtioMmio,
    chain::{Chain, Claimed},
    limits::{
        BLOCK_QUEUE_MAX, IN_FLIGHT_BYTES_MAX, REQUEST_BYTES_MAX, REQUESTS_MAX, SEGMENT_BYTES_MAX,
        SEGMENTS_MAX, ZERO_SECTORS_MAX,
    },
    pending::Pending,
};
use crate::{Data, DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, device::Reach};

/// VIRTIO 5.2.3: feature bits.
pub mod feature {
    /// `size_max` counts.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// `seg_max` counts.
    pub const SEG_MAX: u64 = 1 << 2;
    /// The disk is read-only.
    pub const RO: u64 = 1 << 5;
    /// `blk_size` counts.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// Flush requests.
    pub const FLUSH: u64 = 1 << 9;
    /// Discard requests.
    pub const DISCARD: u64 = 1 << 13;
    /// Write-zeroes requests.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Bytes of a sector; also the block size.
const SECTOR: u64 = 512;
/// Bytes of the answer to VIRTIO_BLK_T_GET_ID.
const ID_BYTES: usize = 20;
/// Bytes of a request's header, and of a range.
const HEADER_BYTES: u64 = 16;

/// VIRTIO 5.2.6: the request's status byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    IoError,
    Unsupported,
}

impl Status {
    const fn code(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::IoError => 1,
            Status::Unsupported => 2,
        }
    }
}

/// What a request turns out to be.
enum Request {
    Disk(DiskOperation),
    Id,
}

/// What a request begins with (VIRTIO 5.2.6).
struct Header {
    kind: u32,
    sector: u64,
}

/// What follows the header of discard and write-zeroes (VIRTIO 5.2.6).
struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

/// The block device.
#[derive(Clone, Debug)]
pub struct Block {
    /// Which disk of the configuration; with capacity, access and serial part of the machine's build.
    disk: u8,
    sectors: u64,
    read_only: bool,
    serial: [u8; ID_BYTES],
    /// Counts requests for the life of the guest; no reset sets it back, so no completion can be mistaken.
    next_id: u64,
    /// In the order of submission; at most [`REQUESTS_MAX`].
    pending: Vec<Pending>,
}

impl Block {
    /// Disk `disk` of the configuration.
    #[must_use]
    pub fn new(disk: u8, config: &DiskConfig) -> Block {
        let mut serial = [0; ID_BYTES];
        for (to, from) in serial.iter_mut().zip(config.serial.bytes()) {
            *to = from;
        }
        Block {
            disk,
            sectors: config.sectors,
            read_only: config.read_only,
            serial,
            next_id: 0,
            pending: Vec::new(),
        }
    }

    /// Decides what a request asks. Err: the status to answer at once.
    fn parse(&self, chain: &Chain, rings: &Rings<'_>, ram: &Ram) -> Result<Request, Status> {
        let Claimed(header) = read_header(chain, ram)?;
        let data_in = chain.writable.total().saturating_sub(1);
        let data_out = chain.readable.total().saturating_sub(HEADER_BYTES);
        // VIRTIO 5.2.6.2: a read-only disk fails what would write, and writes nothing.
        if self.read_only && matches!(header.kind, 1 | 11 | 13) {
            return Err(Status::IoError);
        }
        match header.kind {
            0 => Ok(Request::Disk(DiskOperation::Read {
                sector: header.sector,
                bytes: self.data_bytes(header.sector, data_in)?,
            })),
            1 => {
                let bytes = self.data_bytes(header.sector, data_out)?;
                let length = usize::try_from(bytes).map_err(|_| Status::IoError)?;
                let data = Data::filled(length, |data| chain.readable.gather(ram, HEADER_BYTES, data))
                    .map_err(|_| Status::IoError)?;
                Ok(Request::Disk(DiskOperation::Write {
                    sector: header.sector,
                    data,
                }))
            }
            4 => Ok(Request::Disk(DiskOperation::Flush)),
            8 => Ok(Request::Id),
            11 if rings.accepted(feature::DISCARD) => {
                // VIRTIO 5.2.6.2: no flag is known for discard, not even unmap.
                let Range { sector, sectors, .. } = self.range(chain, ram, 0)?;
                Ok(Request::Disk(DiskOperation::Discard { sector, sectors }))
            }
            13 if rings.accepted(feature::WRITE_ZEROES) => {
                let Range {
                    sector,
                    sectors,
                    flags,
                } = self.range(chain, ram, 1)?;
                Ok(Request::Disk(DiskOperation::WriteZeroes {
                    sector,
                    sectors,
                    unmap: flags & 1 != 0,
                }))
            }
            _ => Err(Status::Unsupported),
        }
    }

    /// The length of a read or write, if it is one and the disk has the sectors.
    fn data_bytes(&self, sector: u64, bytes: u64) -> Result<u32, Status> {
        let length = u32::try_from(bytes).map_err(|_| Status::IoError)?;
        let sound = length > 0 && length <= REQUEST_BYTES_MAX && bytes.is_multiple_of(SECTOR);
        match sound && self.contains(sector, bytes.checked_div(SECTOR).unwrap_or(0)) {
            true => Ok(length),
            false => Err(Status::IoError),
        }
    }

    /// The one range of a discard or write-zeroes request, with no flags but `known`.
    fn range(&self, chain: &Chain, ram: &Ram, known: u32) -> Result<Range, Status> {
        if chain.readable.total() != HEADER_BYTES.saturating_mul(2) {
            return Err(Status::IoError); // max_discard_seg and max_write_zeroes_seg are 1.
        }
        let Claimed(range) = read_range(chain, ram)?;
        if range.flags & !known != 0 {
            return Err(Status::Unsupported);
        }
        let sound = range.sectors > 0 && range.sectors <= ZERO_SECTORS_MAX;
        match sound && self.contains(range.sector, u64::from(range.sectors)) {
            true => Ok(range),
            false => Err(Status::IoError),
        }
    }

    fn contains(&self, sector: u64, sectors: u64) -> bool {
        sector.checked_add(sectors).is_some_and(|end| end <= self.sectors)
    }

    /// Remembers a request and sends it out.
    fn begin(&mut self, chain: Chain, operation: DiskOperation, flush_follows: bool, reach: &mut Reach<'_>) {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.pending.push(Pending {
            id,
            chain,
            operation: operation.clone(),
            flush_follows,
        });
        let disk = self.disk;
        reach
            .effects
            .push_back(Effect::Disk(DiskRequest { disk, id, operation }));
    }

    /// One buffer from the ring: begun, or answered at once.
    fn submit(&mut self, chain: Chain, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        match self.parse(&chain, rings, reach.ram) {
            Ok(Request::Disk(operation)) => {
                // VIRTIO 5.2.6.2: for a driver without flush, what is completed is durable.
                let writes = matches!(
                    operation,
                    DiskOperation::Write { .. } | DiskOperation::WriteZeroes { .. }
                );
                let flush_follows = writes && !rings.accepted(feature::FLUSH);
                self.begin(chain, operation, flush_follows, reach);
                Ok(())
            }
            Ok(Request::Id) => {
                let room = chain.writable.total().saturating_sub(1);
                let length = usize::try_from(room).unwrap_or(usize::MAX);
                let serial: Vec<u8> = self.serial.iter().copied().take(length).collect();
                answer(&chain, Status::Ok, &serial, rings, reach)
            }
            Err(status) => answer(&chain, status, &[], rings, reach),
        }
    }

    /// A request has come back from the disk.
    fn finish(
        &mut self,
        done: Pending,
        status: DiskStatus,
        data: &[u8],
        rings: &mut Rings<'_>,
        reach: &mut Reach<'_>,
    ) -> Result<(), Broken> {
        match (status, &done.operation) {
            (DiskStatus::Failed, _) => answer(&done.chain, Status::IoError, &[], rings, reach),
            (DiskStatus::Ok, DiskOperation::Read { bytes, .. }) => {
                // A peer's bytes: of the wrong length, they are no answer to this read.
                match usize::try_from(*bytes) == Ok(data.len()) {
                    true => answer(&done.chain, Status::Ok, data, rings, reach),
                    false => answer(&done.chain, Status::IoError, &[], rings, reach),
                }
            }
            (DiskStatus::Ok, _) if done.flush_follows => {
                self.begin(done.chain, DiskOperation::Flush, false, reach);
                Ok(())
            }
            (DiskStatus::Ok, _) => answer(&done.chain, Status::Ok, &[], rings, reach),
        }
    }
}

impl Function for Block {
    const ID: u32 = 2;
    const QUEUES: &'static [u16] = &[BLOCK_QUEUE_MAX];

    fn features(&self) -> u64 {
        use feature::{BLK_SIZE, DISCARD, FLUSH, RO, SEG_MAX, SIZE_MAX, WRITE_ZEROES};
        let always = SIZE_MAX | SEG_MAX | BLK_SIZE | FLUSH;
        match self.read_only {
            true => always | RO,
            false => always | DISCARD | WRITE_ZEROES,
        }
    }

    /// VIRTIO 5.2.4.
    fn config(&self, offset: u64) -> u8 {
        let byte32 = |value: u32, at: u64| byte(&value.to_le_bytes(), offset, at);
        match offset {
            0..8 => byte(&self.sectors.to_le_bytes(), offset, 0),
            8..12 => byte32(SEGMENT_BYTES_MAX, 8),
            12..16 => byte32(SEGMENTS_MAX, 12),
            20..24 => byte32(512, 20),
            // max_discard_sectors, max_discard_seg, discard_sector_alignment.
            36..40 => byte32(ZERO_SECTORS_MAX, 36),
            40..44 => byte32(1, 40),
            44..48 => byte32(8, 44),
            // max_write_zeroes_sectors, max_write_zeroes_seg, write_zeroes_may_unmap.
            48..52 => byte32(ZERO_SECTORS_MAX, 48),
            52..56 => byte32(1, 52),
            56 => 1,
            _ => 0,
        }
    }

    fn notify(&mut self, _: usize, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        let mut bytes = self.in_flight_bytes();
        while self.pending.len() < REQUESTS_MAX && bytes < IN_FLIGHT_BYTES_MAX {
            let Some(chain) = rings.queue(0)?.pop(reach.ram)? else {
                break;
            };
            if chain.readable.total() < HEADER_BYTES || chain.writable.count() == 0 {
                return Err(Broken("a disk request has no header or no room for a status"));
            }
            let before = self.pending.len();
            self.submit(chain, rings, reach)?;
            let begun = self.pending.get(before).map_or(0, Pending::data_bytes);
            bytes = bytes.saturating_add(begun);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.pending.clear();
    }
}

impl Block {
    fn in_flight_bytes(&self) -> u64 {
        self.pending
            .iter()
            .fold(0, |sum, pending| sum.saturating_add(pending.data_bytes()))
    }
}

impl VirtioMmio<Block> {
    /// A request is finished ([`crate::Input::DiskDone`]): copies what was read, answers the driver, and
    /// takes on what waited for room. An id that is not in flight is ignored: the guest has reset the
    /// device since, or a peer lies.
    pub fn complete(&mut self, id: u64, status: DiskStatus, data: &[u8], reach: &mut Reach<'_>) {
        let found = self.function.pending.iter().position(|p| p.id == id);
        let Some(done) = found.map(|at| self.function.pending.remove(at)) else {
            return;
        };
        self.run(reach, |block, rings, reach| {
            block.finish(done, status, data, rings, reach)?;
            block.notify(0, rings, reach)
        });
    }

    /// The requests without completion, in the order of submission: issued again at go-live (FT 3.4-c).
    pub fn pending(&self) -> impl Iterator<Item = DiskRequest> {
        let disk = self.function.disk;
        self.function.pending.iter().map(move |pending| DiskRequest {
            disk,
            id: pending.id,
            operation: pending.operation.clone(),
        })
    }
}

impl Visit for Block {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            disk: _,
            sectors: _,
            read_only: _,
            serial: _,
            next_id,
            pending,
        } = self;
        v.u64("next_id", next_id);
        hart::state::list(v, "pending", pending, REQUESTS_MAX);
    }
}

/// Writes data and status, and gives the buffer back. The status is the last byte, wherever the driver
/// put it (VIRTIO 2.7.4.1).
fn answer(
    chain: &Chain,
    status: Status,
    data: &[u8],
    rings: &mut Rings<'_>,
    reach: &mut Reach<'_>,
) -> Result<(), Broken> {
    chain.writable.scatter(reach.ram, data)?;
    let last = chain.writable.last_byte().ok_or(Broken("no room for a status"))?;
    reach
        .ram
        .write(last, &[status.code()])
        .map_err(|_| Broken("a buffer is not in RAM"))?;
    // VIRTIO 2.7.8.2: only what is written from the start on counts.
    let filled = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let written = match u64::from(filled) == chain.writable.total().saturating_sub(1) {
        true => filled.saturating_add(1),
        false => filled,
    };
    rings.queue(0)?.push(reach.ram, chain.head, written)
}

fn read_header(chain: &Chain, ram: &Ram) -> Result<Claimed<Header>, Status> {
    let mut bytes = [0; 16];
    chain
        .readable
        .gather(ram, 0, &mut bytes)
        .map_err(|_| Status::IoError)?;
    let [k0, k1, k2, k3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
    Ok(Claimed(Header {
        kind: u32::from_le_bytes([k0, k1, k2, k3]),
        sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
    }))
}

fn read_range(chain: &Chain, ram: &Ram) -> Result<Claimed<Range>, Status> {
    let mut bytes = [0; 16];
    chain
        .readable
        .gather(ram, HEADER_BYTES, &mut bytes)
        .map_err(|_| Status::IoError)?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, f0, f1, f2, f3] = bytes;
    Ok(Claimed(Range {
        sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        sectors: u32::from_le_bytes([n0, n1, n2, n3]),
        flags: u32::from_le_bytes([f0, f1, f2, f3]),
    }))
}

/// The byte at `offset` of a field that begins at `at`.
fn byte(field: &[u8], offset: u64, at: u64) -> u8 {
    let index = offset
        .checked_sub(at)
        .and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| field.get(index)).copied().unwrap_or(0)
}
