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
    Accepted, Broken, Function, Rings, VirtioMmio,
    chain::{Chain, Untrusted},
    limits::{IN_FLIGHT_BYTES_MAX, QUEUE_MAX, REQUEST_BYTES_MAX, REQUESTS_MAX, ZERO_SECTORS_MAX},
};
use crate::{DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, device::Reach};

mod config;
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
        /// A geometry in cylinders, heads and sectors is in `geometry`.
        const GEOMETRY = 1 << 4;
        /// The disk is read-only.
        const RO = 1 << 5;
        /// The block size is in `blk_size`.
        const BLK_SIZE = 1 << 6;
        /// The device answers flush requests.
        const FLUSH = 1 << 9;
        /// How blocks lie on the medium is in `topology`.
        const TOPOLOGY = 1 << 10;
        /// The driver may choose in `writeback` whether what is completed is durable.
        const CONFIG_WCE = 1 << 11;
        /// The device answers discard requests.
        const DISCARD = 1 << 13;
        /// The device answers write-zeroes requests.
        const WRITE_ZEROES = 1 << 14;
    }
}

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
    /// The capacity, which only grows.
    sectors: u64,
    /// The index of the disk in the configuration. This and the next two fields are part of the machine's
    /// build, not of its state.
    disk: u8,
    /// Whether requests that would write fail.
    read_only: bool,
    /// The answer to VIRTIO_BLK_T_GET_ID, filled up with zeroes.
    serial: [u8; ID_BYTES],
    /// The id of the next request. It counts for the life of the guest; no reset sets it back, so no
    /// completion can be taken for that of another request.
    next_id: u64,
    /// The driver chose by CONFIG_WCE that what is completed is durable.
    write_through: bool,
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
            write_through: false,
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
            RequestType::Discard if rings.accepted.has(BlockFeatures::DISCARD) => {
                // VIRTIO 5.2.6.2: no flag is known for discard, not even unmap.
                let Range { sector, sectors, .. } = self.range(chain, ram, RangeFlags::empty())?;
                Some(DiskOperation::Discard { sector, sectors })
            }
            RequestType::WriteZeroes if rings.accepted.has(BlockFeatures::WRITE_ZEROES) => {
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
                let writes = matches!(
                    operation,
                    DiskOperation::Write { .. } | DiskOperation::WriteZeroes { .. }
                );
                let pending = Pending {
                    chain,
                    operation,
                    flush_follows: writes && !self.is_write_back(rings.accepted),
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

    /// May a write be completed before it is durable? VIRTIO 5.2.6.2: not for a driver without flush.
    fn is_write_back(&self, accepted: Accepted) -> bool {
        let may_choose = accepted.has(BlockFeatures::CONFIG_WCE);
        accepted.has(BlockFeatures::FLUSH) && !(may_choose && self.write_through)
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
        let always = BlockFeatures::SEG_MAX
            | BlockFeatures::GEOMETRY
            | BlockFeatures::BLK_SIZE
            | BlockFeatures::FLUSH
            | BlockFeatures::TOPOLOGY
            | BlockFeatures::CONFIG_WCE;
        let features = if self.read_only {
            always | BlockFeatures::RO
        } else {
            always | BlockFeatures::DISCARD | BlockFeatures::WRITE_ZEROES
        };
        features.bits()
    }

    fn config(&self, offset: u64, accepted: Accepted) -> u8 {
        // VIRTIO 5.2.5.2: `writeback` begins as 0 for a driver that has CONFIG_WCE and no flush.
        let can_choose = accepted.has(BlockFeatures::FLUSH) || !accepted.has(BlockFeatures::CONFIG_WCE);
        config::byte(offset, self.sectors, can_choose && !self.write_through)
    }

    /// VIRTIO 5.2.5: `writeback` is the driver's to write, once it has accepted CONFIG_WCE.
    fn set_config(&mut self, offset: u64, value: u8, accepted: Accepted) {
        if offset == config::WRITEBACK && accepted.has(BlockFeatures::CONFIG_WCE) {
            self.write_through = value == 0;
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
        self.write_through = false;
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

    /// The disk has become larger ([`crate::Input::DiskSize`]): the driver reads the new capacity and is
    /// notified (VIRTIO 5.2.5). What is not larger is ignored: a guest loses no sectors.
    pub fn grow(&mut self, sectors: u64, reach: &mut Reach<'_>) {
        if sectors > self.function.sectors {
            self.function.sectors = sectors;
            self.config_changed(reach);
        }
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
            sectors,
            read_only: _,
            serial: _,
            next_id,
            write_through,
            pending,
        } = self;
        v.u64("sectors", sectors);
        v.u64("next_id", next_id);
        v.bool("write_through", write_through);
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
