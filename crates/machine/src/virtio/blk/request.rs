//! A disk request in the driver's words: its type, header, range and status, by the names of VIRTIO 5.2.6.
//!
//! [`Block`](super::Block) decides what becomes of a request; this file only reads and names what the driver
//! wrote, and checks none of it.

use bitflags::bitflags;
use hart::Ram;

use crate::virtio::{
    chain::{Chain, Untrusted},
    fields::Fields,
};

/// Bytes of a sector, which is also the block size that the driver is told.
pub const SECTOR_BYTES: u32 = 512;
/// Bytes of a request's header.
pub const HEADER_BYTES: u64 = 16;
/// Bytes of the status at a request's end.
pub const STATUS_BYTES: u64 = 1;
/// Bytes of a range, which follows the header of discard and write-zeroes requests.
pub const RANGE_BYTES: u64 = 16;

/// VIRTIO 5.2.6: what a request asks for, `VIRTIO_BLK_T_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestType {
    /// VIRTIO_BLK_T_IN: read.
    In,
    /// VIRTIO_BLK_T_OUT: write.
    Out,
    /// VIRTIO_BLK_T_FLUSH: make completed writes durable. Legacy drivers may have VIRTIO_BLK_T_FLUSH_OUT
    /// instead, which is the same.
    Flush,
    /// VIRTIO_BLK_T_GET_ID: tell the serial number.
    GetId,
    /// VIRTIO_BLK_T_DISCARD: forget what is in a range.
    Discard,
    /// VIRTIO_BLK_T_WRITE_ZEROES: make a range zero.
    WriteZeroes,
}

/// VIRTIO_BLK_T_BARRIER of legacy drivers. The feature of barriers is not offered, so the bit means nothing.
const BARRIER: u32 = 1 << 31;

impl RequestType {
    /// The type with this number; `None`: the device knows no such type.
    pub const fn from_number(number: u32) -> Option<RequestType> {
        Some(match number & !BARRIER {
            0 => RequestType::In,
            1 => RequestType::Out,
            4 | 5 => RequestType::Flush,
            8 => RequestType::GetId,
            11 => RequestType::Discard,
            13 => RequestType::WriteZeroes,
            _ => return None,
        })
    }

    /// Would the request change what is on the disk?
    pub const fn writes(self) -> bool {
        matches!(
            self,
            RequestType::Out | RequestType::Discard | RequestType::WriteZeroes
        )
    }
}

/// VIRTIO 5.2.6: the status byte of a request, `VIRTIO_BLK_S_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request is done.
    Ok,
    /// The disk could not do the request, or the request is malformed or out of range.
    IoError,
    /// The device does not know this type of request, or the driver did not accept its feature.
    Unsupported,
}

impl Status {
    /// The number that the driver reads.
    pub const fn number(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::IoError => 1,
            Status::Unsupported => 2,
        }
    }
}

bitflags! {
    /// VIRTIO 5.2.6: the flags of a range of discard and write-zeroes requests.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RangeFlags: u32 {
        /// The device may give the space back instead of writing zeroes.
        const UNMAP = 1 << 0;
    }
}

/// What a request begins with (VIRTIO 5.2.6).
pub struct Header {
    /// The number of the [`RequestType`].
    pub number: u32,
    /// The first sector; without meaning for requests that have none.
    pub sector: u64,
}

/// What follows the header of discard and write-zeroes requests (VIRTIO 5.2.6).
pub struct Range {
    /// The first sector.
    pub sector: u64,
    /// How many sectors.
    pub sectors: u32,
    /// What the driver allows to be done with the range.
    pub flags: RangeFlags,
}

impl Header {
    /// Reads the header of the request in `chain`.
    ///
    /// # Errors
    /// If the chain is too short for one.
    pub fn read(chain: &Chain, ram: &Ram) -> Result<Untrusted<Header>, Status> {
        let bytes = structure(chain, 0, ram)?;
        let mut fields = Fields(&bytes);
        let number = fields.u32();
        let _reserved = fields.u32();
        let sector = fields.u64();
        Ok(Untrusted(Header { number, sector }))
    }
}

impl Range {
    /// Reads the first range of the request in `chain`.
    ///
    /// # Errors
    /// If the chain is too short for one.
    pub fn read(chain: &Chain, ram: &Ram) -> Result<Untrusted<Range>, Status> {
        let bytes = structure(chain, HEADER_BYTES, ram)?;
        let mut fields = Fields(&bytes);
        Ok(Untrusted(Range {
            sector: fields.u64(),
            sectors: fields.u32(),
            flags: RangeFlags::from_bits_retain(fields.u32()),
        }))
    }
}

/// The bytes of a header or of a range, which begins `skip` bytes into the request.
fn structure(chain: &Chain, skip: u64, ram: &Ram) -> Result<[u8; 16], Status> {
    let mut bytes = [0; 16];
    match chain.readable.gather(ram, skip, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Status::IoError),
    }
}
