//! Disk requests without completion. They are guest state: after a failover nothing else knows them.
//!
//! [`Block`](super::Block) keeps a [`Pending`] from the submission of a request until its completion. A
//! replica that goes live issues all of them again (FT 3.4-c), so a write keeps its data here until it is
//! done: that of one part, if the request has several. Nothing here is ever dropped but by a completion or a
//! reset of the device.

use hart::{Ram, Visit, Visitor};

use super::{part, request::SECTOR_BYTES};
use crate::{
    DiskOperation, DiskRequest,
    virtio::{
        chain::{Broken, Chain},
        limits::PART_BYTES_MAX,
    },
};

/// A request between submission and completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Number of the present operation: its [`DiskRequest::id`].
    pub id: u64,
    /// The driver's buffer: where read data and status go, and what the used ring names.
    pub chain: Chain,
    /// What the disk was asked to do at present. A request needs several operations, one after the other, if
    /// it has more data than one moves, or if a flush follows.
    pub operation: DiskOperation,
    /// Bytes of data that the operations before the present one have moved.
    pub moved_before: u64,
    /// The driver knows no flush, so the request is not done before a flush of ours is (VIRTIO 5.2.6.2).
    pub flush_follows: bool,
}

impl Pending {
    /// Bytes of data that the present operation moves, which are held here or on the way.
    pub fn data_bytes(&self) -> u64 {
        match &self.operation {
            DiskOperation::Read { bytes, .. } => u64::from(*bytes),
            DiskOperation::Write { data, .. } => u64::try_from(data.len()).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    /// Is it data of the disk that the driver wants?
    pub fn is_read(&self) -> bool {
        matches!(self.operation, DiskOperation::Read { .. })
    }

    /// Can this be what the present operation read, if it is a read? The data may be a peer's: of the wrong
    /// length, it is no answer to this read.
    pub fn is_answered_by(&self, data: &[u8]) -> bool {
        !self.is_read() || u64::try_from(data.len()) == Ok(self.data_bytes())
    }

    /// The present operation as the disk is asked to do it.
    pub fn disk_request(&self, disk: u8) -> DiskRequest {
        DiskRequest {
            disk,
            id: self.id,
            operation: self.operation.clone(),
        }
    }

    /// Goes on from the present operation, which is done, to the next one: the next part of the data, or the
    /// flush that must follow. False: the request needs no further operation.
    ///
    /// # Errors
    /// If the driver's buffer is not in RAM: only after a restore from bytes that were not sound.
    pub fn advance(&mut self, ram: &Ram) -> Result<bool, Broken> {
        let moved = self.data_bytes();
        let sectors = moved.checked_div(SECTOR_BYTES.into()).unwrap_or(0);
        self.moved_before = self.moved_before.saturating_add(moved);
        let next = match self.operation {
            DiskOperation::Read { sector, .. } => {
                part::read(&self.chain, self.moved_before, sector.saturating_add(sectors))
            }
            DiskOperation::Write { sector, .. } => {
                let sector = sector.saturating_add(sectors);
                part::write(&self.chain, self.moved_before, sector, ram)?
            }
            _ => None,
        };
        let flush = || std::mem::take(&mut self.flush_follows).then_some(DiskOperation::Flush);
        let Some(next) = next.or_else(flush) else {
            return Ok(false);
        };
        self.operation = next;
        Ok(true)
    }
}

impl Default for Pending {
    fn default() -> Pending {
        Pending {
            id: 0,
            chain: Chain::default(),
            operation: DiskOperation::Flush,
            moved_before: 0,
            flush_follows: false,
        }
    }
}

impl Visit for Pending {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            id,
            chain,
            operation,
            moved_before,
            flush_follows,
        } = self;
        v.u64("id", id);
        hart::state::component(v, "chain", chain);
        visit_operation(v, operation);
        v.u64("moved_before", moved_before);
        v.bool("flush_follows", flush_follows);
    }
}

/// The numbers of operations in digests and snapshots, which may not change.
mod kind {
    pub const READ: u8 = 0;
    pub const WRITE: u8 = 1;
    pub const FLUSH: u8 = 2;
    pub const DISCARD: u8 = 3;
    pub const WRITE_ZEROES: u8 = 4;
}

/// Visits the kind of an operation, then the fields of that kind.
fn visit_operation(v: &mut dyn Visitor, operation: &mut DiskOperation) {
    let kind: u8 = match operation {
        DiskOperation::Read { .. } => kind::READ,
        DiskOperation::Write { .. } => kind::WRITE,
        DiskOperation::Flush => kind::FLUSH,
        DiskOperation::Discard { .. } => kind::DISCARD,
        DiskOperation::WriteZeroes { .. } => kind::WRITE_ZEROES,
    };
    let mut visited = kind;
    v.u8("operation", &mut visited);
    if visited != kind {
        *operation = blank(v, visited); // Only a restorer changes the kind.
    }
    match operation {
        DiskOperation::Read { sector, bytes } => {
            v.u64("sector", sector);
            v.u32("bytes", bytes);
        }
        DiskOperation::Write { sector, data } => {
            v.u64("sector", sector);
            // Only a restorer changes the bytes; everybody else's stay shared with the disk.
            let mut bytes = data.to_vec();
            v.bytes("data", &mut bytes, usize::try_from(PART_BYTES_MAX).unwrap_or(0));
            if bytes != **data {
                *data = bytes.into();
            }
        }
        DiskOperation::Flush => {}
        DiskOperation::Discard { sector, sectors } => {
            v.u64("sector", sector);
            v.u32("sectors", sectors);
        }
        DiskOperation::WriteZeroes {
            sector,
            sectors,
            unmap,
        } => {
            v.u64("sector", sector);
            v.u32("sectors", sectors);
            v.bool("unmap", unmap);
        }
    }
}

/// An operation of this kind, for a restorer to fill.
fn blank(v: &mut dyn Visitor, kind: u8) -> DiskOperation {
    let (sector, sectors) = (0, 0);
    match kind {
        kind::READ => DiskOperation::Read { sector, bytes: 0 },
        kind::WRITE => DiskOperation::Write {
            sector,
            data: Vec::new().into(),
        },
        kind::FLUSH => DiskOperation::Flush,
        kind::DISCARD => DiskOperation::Discard { sector, sectors },
        kind::WRITE_ZEROES => DiskOperation::WriteZeroes {
            sector,
            sectors,
            unmap: false,
        },
        _ => {
            v.reject("no such disk operation");
            DiskOperation::Flush
        }
    }
}
