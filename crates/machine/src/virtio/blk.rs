//! virtio-blk (VIRTIO 5.2): the guest's disk requests become effects, completions come back as inputs.
//!
//! A notify takes requests from the ring, checks each, and emits [`Effect::Disk`] or answers at once. Write
//! data is copied out, once, when the disk is asked; read data goes in only when the completion is injected
//! (FT 3.4-b). A request with more data than one operation moves becomes several operations, one after the
//! other. Requests in flight are guest state, see [`Pending`]. A request that is malformed or out of range
//! never leaves the device.

use bitflags::bitflags;
use hart::{Ram, Visit, Visitor};

use super::{
    Broken, Function, Rings, VirtioMmio,
    chain::{Chain, Untrusted},
    limits::{
        IN_FLIGHT_BYTES_MAX, QUEUE_MAX, REQUEST_BYTES_MAX, REQUESTS_MAX, SEGMENTS_MAX, ZERO_SECTORS_MAX,
    },
};
use crate::{DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, device::Reach};

mod part;
mod pending;
mod request;

use pending::Pending;
use request::{
    HEADER_BYTES, Header, RANGE_BYTES, Range, RangeFlags, RequestType, SECTOR_BYTES, STATUS_BYTES, Status,
};

bitflags! {
    /// VIRTIO 5.2.3: `VIRTIO_BLK_F_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BlockFeatures: u64 {
        /// The most segments of a request are in `seg_max`.
        const SEG_MAX = 1 << 2;
        /// The disk is read-only.
        const RO = 1 << 5;
        /// The block size is in `blk_size`.
        const BLK_SIZE = 1 << 6;
        /// The device answers flush requests.
        const FLUSH = 1 << 9;
        /// The device answers discard requests.
        const DISCARD = 1 << 13;
        /// The device answers write-zeroes requests.
        const WRITE_ZEROES = 1 << 14;
    }
}

/// VIRTIO 5.2.4: offsets in `struct virtio_blk_config`.
mod config {
    pub const CAPACITY: u64 = 0;
    pub const SEG_MAX: u64 = 12;
    pub const BLK_SIZE: u64 = 20;
    pub const MAX_DISCARD_SECTORS: u64 = 36;
    pub const MAX_DISCARD_SEG: u64 = 40;
    pub const DISCARD_SECTOR_ALIGNMENT: u64 = 44;
    pub const MAX_WRITE_ZEROES_SECTORS: u64 = 48;
    pub const MAX_WRITE_ZEROES_SEG: u64 = 52;
    pub const WRITE_ZEROES_MAY_UNMAP: u64 = 56;
}

/// Discards had best be aligned to this many sectors, which are 4 KiB.
const DISCARD_ALIGNMENT_SECTORS: u32 = 8;
/// Bytes of the answer to VIRTIO_BLK_T_GET_ID.
const ID_BYTES: usize = 20;

/// What a request turns out to ask for.
enum Request {
    /// Something that only the disk can do, and what it is to do first.
    Disk(DiskOperation),
    /// The serial number, which the device knows by itself.
    Id,
    /// A read or write of no data.
    Nothing,
}

/// The block device.
#[derive(Clone, Debug)]
pub struct Block {
    /// The index of the disk in the configuration. This and the next three fields are part of the machine's
    /// build, not of its state.
    disk: u8,
    /// The capacity.
    sectors: u64,
    /// Whether requests that would write fail.
    read_only: bool,
    /// The answer to VIRTIO_BLK_T_GET_ID, filled up with zeroes.
    serial: [u8; ID_BYTES],
    /// The id of the next request. It counts for the life of the guest; no reset sets it back, so no
    /// completion can be taken for that of another request.
    next_id: u64,
    /// The requests in flight, in the order of submission; at most [`REQUESTS_MAX`].
    pending: Vec<Pending>,
}

impl Block {
    /// The disk of this index in the configuration, after power-on.
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

    /// Decides what a request asks for.
    ///
    /// # Errors
    /// The status with which to answer the request at once.
    fn parse(&self, chain: &Chain, rings: &Rings<'_>, ram: &Ram) -> Result<Request, Status> {
        let Untrusted(Header { number, sector }) = Header::read(chain, ram)?;
        let request = RequestType::from_number(number).ok_or(Status::Unsupported)?;
        // VIRTIO 5.2.6.2: a read-only disk fails what would write, and writes nothing.
        if self.read_only && request.writes() {
            return Err(Status::IoError);
        }
        let operation = match request {
            RequestType::In => {
                let room = chain.writable.total().saturating_sub(STATUS_BYTES);
                self.check_data(sector, room)?;
                part::read(chain, 0, sector)
            }
            RequestType::Out => {
                let length = chain.readable.total().saturating_sub(HEADER_BYTES);
                self.check_data(sector, length)?;
                part::write(chain, 0, sector, ram).map_err(|_| Status::IoError)?
            }
            RequestType::Flush => Some(DiskOperation::Flush),
            RequestType::GetId => return Ok(Request::Id),
            RequestType::Discard if rings.has_accepted(BlockFeatures::DISCARD) => {
                // VIRTIO 5.2.6.2: no flag is known for discard, not even unmap.
                let Range { sector, sectors, .. } = self.range(chain, ram, RangeFlags::empty())?;
                Some(DiskOperation::Discard { sector, sectors })
            }
            RequestType::WriteZeroes if rings.has_accepted(BlockFeatures::WRITE_ZEROES) => {
                let Range {
                    sector,
                    sectors,
                    flags,
                } = self.range(chain, ram, RangeFlags::UNMAP)?;
                Some(DiskOperation::WriteZeroes {
                    sector,
                    sectors,
                    unmap: flags.contains(RangeFlags::UNMAP),
                })
            }
            RequestType::Discard | RequestType::WriteZeroes => return Err(Status::Unsupported),
        };
        Ok(operation.map_or(Request::Nothing, Request::Disk))
    }

    /// Is a read or write of so many bytes one that the device takes, and does the disk have the sectors?
    fn check_data(&self, sector: u64, bytes: u64) -> Result<(), Status> {
        let sound = bytes <= REQUEST_BYTES_MAX && bytes.is_multiple_of(SECTOR_BYTES.into());
        let sectors = bytes.checked_div(SECTOR_BYTES.into()).unwrap_or(0);
        if sound && self.contains(sector, sectors) {
            Ok(())
        } else {
            Err(Status::IoError)
        }
    }

    /// The one range of a discard or write-zeroes request, with no flags but `known`.
    fn range(&self, chain: &Chain, ram: &Ram, known: RangeFlags) -> Result<Range, Status> {
        if chain.readable.total() != HEADER_BYTES.saturating_add(RANGE_BYTES) {
            return Err(Status::IoError); // max_discard_seg and max_write_zeroes_seg are 1.
        }
        let Untrusted(range) = Range::read(chain, ram)?;
        if !known.contains(range.flags) {
            return Err(Status::Unsupported);
        }
        let sound = range.sectors > 0 && range.sectors <= ZERO_SECTORS_MAX;
        if sound && self.contains(range.sector, range.sectors.into()) {
            Ok(range)
        } else {
            Err(Status::IoError)
        }
    }

    /// Does the disk have these sectors?
    fn contains(&self, sector: u64, sectors: u64) -> bool {
        let end = sector.checked_add(sectors);
        end.is_some_and(|end| end <= self.sectors)
    }

    /// Gives the present operation of a request an id, remembers it as pending and sends it out.
    fn begin(&mut self, mut pending: Pending, reach: &mut Reach<'_>) {
        pending.id = self.next_id;
        self.next_id = pending.id.wrapping_add(1);
        reach
            .effects
            .push_back(Effect::Disk(pending.disk_request(self.disk)));
        self.pending.push(pending);
    }

    /// Begins the request in a buffer from the ring, or answers it at once.
    fn submit(&mut self, chain: Chain, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        match self.parse(&chain, rings, reach.ram) {
            Ok(Request::Disk(operation)) => {
                // VIRTIO 5.2.6.2: for a driver without flush, what is completed is durable.
                let writes = matches!(
                    operation,
                    DiskOperation::Write { .. } | DiskOperation::WriteZeroes { .. }
                );
                let pending = Pending {
                    chain,
                    operation,
                    flush_follows: writes && !rings.has_accepted(BlockFeatures::FLUSH),
                    ..Pending::default()
                };
                self.begin(pending, reach);
                Ok(())
            }
            Ok(Request::Id) => {
                let room = chain.writable.total().saturating_sub(STATUS_BYTES);
                let length = usize::try_from(room).unwrap_or(usize::MAX);
                let serial = self.serial.get(..length).unwrap_or(&self.serial);
                chain.writable.scatter(reach.ram, 0, serial)?;
                let filled = u64::try_from(serial.len()).unwrap_or(0);
                answer(&chain, Status::Ok, filled, rings, reach)
            }
            Ok(Request::Nothing) => answer(&chain, Status::Ok, 0, rings, reach),
            Err(status) => answer(&chain, status, 0, rings, reach),
        }
    }

    /// The disk has done the present operation of a request: answers the request, or begins its next
    /// operation.
    fn finish(
        &mut self,
        mut pending: Pending,
        status: DiskStatus,
        data: &[u8],
        rings: &mut Rings<'_>,
        reach: &mut Reach<'_>,
    ) -> Result<(), Broken> {
        if status == DiskStatus::Failed || !pending.is_answered_by(data) {
            return answer(&pending.chain, Status::IoError, 0, rings, reach);
        }
        if pending.is_read() {
            let place = &pending.chain.writable;
            place.scatter(reach.ram, pending.moved_before, data)?;
        }
        if pending.advance(reach.ram)? {
            self.begin(pending, reach);
            return Ok(());
        }
        let filled = if pending.is_read() {
            pending.moved_before
        } else {
            0
        };
        answer(&pending.chain, Status::Ok, filled, rings, reach)
    }

    /// Bytes of data of all requests in flight.
    fn in_flight_bytes(&self) -> u64 {
        self.pending
            .iter()
            .fold(0, |sum, pending| sum.saturating_add(pending.data_bytes()))
    }
}

impl Function for Block {
    const ID: u32 = 2;
    const QUEUES: &'static [u16] = &[QUEUE_MAX];

    fn features(&self) -> u64 {
        let always = BlockFeatures::SEG_MAX | BlockFeatures::BLK_SIZE | BlockFeatures::FLUSH;
        let features = if self.read_only {
            always | BlockFeatures::RO
        } else {
            always | BlockFeatures::DISCARD | BlockFeatures::WRITE_ZEROES
        };
        features.bits()
    }

    fn config(&self, offset: u64) -> u8 {
        let fields: [(u64, &[u8]); 9] = [
            (config::CAPACITY, &self.sectors.to_le_bytes()),
            (config::SEG_MAX, &SEGMENTS_MAX.to_le_bytes()),
            (config::BLK_SIZE, &SECTOR_BYTES.to_le_bytes()),
            (config::MAX_DISCARD_SECTORS, &ZERO_SECTORS_MAX.to_le_bytes()),
            (config::MAX_DISCARD_SEG, &1_u32.to_le_bytes()),
            (
                config::DISCARD_SECTOR_ALIGNMENT,
                &DISCARD_ALIGNMENT_SECTORS.to_le_bytes(),
            ),
            (config::MAX_WRITE_ZEROES_SECTORS, &ZERO_SECTORS_MAX.to_le_bytes()),
            (config::MAX_WRITE_ZEROES_SEG, &1_u32.to_le_bytes()),
            (config::WRITE_ZEROES_MAY_UNMAP, &[1]),
        ];
        let byte = |(start, field): (u64, &[u8])| {
            let index = usize::try_from(offset.checked_sub(start)?).ok()?;
            field.get(index).copied()
        };
        fields.into_iter().find_map(byte).unwrap_or(0)
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

impl VirtioMmio<Block> {
    /// A request is finished ([`crate::Input::DiskDone`]): copies what was read, answers the driver, and
    /// takes on requests that waited for room. An id that is not in flight is ignored: the guest has reset
    /// the device since, or a peer lies.
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

    /// The requests without completion, in the order of submission. A replica that goes live issues them
    /// again (FT 3.4-c).
    pub fn pending(&self) -> impl Iterator<Item = DiskRequest> {
        let disk = self.function.disk;
        self.function
            .pending
            .iter()
            .map(move |pending| pending.disk_request(disk))
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

/// Writes the status and gives the buffer back. The first `filled` bytes of what the driver may read were
/// written before. The status is the last byte of the buffer, wherever the driver put that (VIRTIO 2.7.4.1).
fn answer(
    chain: &Chain,
    status: Status,
    filled: u64,
    rings: &mut Rings<'_>,
    reach: &mut Reach<'_>,
) -> Result<(), Broken> {
    let last = chain.writable.last_byte().ok_or(Broken("no room for a status"))?;
    reach
        .ram
        .write(last, &[status.number()])
        .map_err(|_| Broken("a buffer is not in RAM"))?;
    // VIRTIO 2.7.8.2: only what is written from the start on counts, and so the status only if no gap is
    // before it.
    let all = chain.writable.total();
    let has_gap = filled != all.saturating_sub(STATUS_BYTES);
    let written = if has_gap { filled } else { all };
    rings
        .queue(0)?
        .push(reach.ram, chain.head, u32::try_from(written).unwrap_or(u32::MAX))
}
