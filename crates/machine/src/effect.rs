//! `Effect`: everything the guest does to the outside. A closed list, deterministic.
//!
//! Invariant: a device never asks a question and gets the answer in the same call. It emits an effect; the
//! answer comes later as an input at a step (FT 2.1-a).

use std::{collections::VecDeque, fmt, ops::Deref, sync::Arc};

/// What leaves the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The guest wrote to a console. The board has one, the UART.
    ConsoleWrite {
        /// Which console: 0 is the UART.
        port: u8,
        /// The bytes that the guest wrote, oldest first.
        bytes: Vec<u8>,
    },
    /// The guest sent an Ethernet frame (no FCS, no virtio header).
    NetTransmit {
        /// Which virtio-net device.
        port: u8,
        /// Destination address first.
        frame: Vec<u8>,
    },
    /// The guest submitted a disk request; write data is already copied out (FT 3.4-b).
    Disk(DiskRequest),
    /// The entropy device wants bytes; answered by [`crate::Input::Entropy`].
    EntropyWanted {
        /// How many.
        bytes: u32,
    },
    /// The machine is off; nothing runs after this.
    PoweredOff(PowerState),
}

/// How the machine went off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// The guest switched itself off (syscon 0x5555), or the operator did.
    Off,
    /// The guest reported failure with this code (syscon 0x3333).
    Failed(u16),
}

/// One request to one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRequest {
    /// Which disk.
    pub disk: u8,
    /// Unique per disk for the life of the guest, counting up from 0.
    pub id: u64,
    /// What to do.
    pub operation: DiskOperation,
}

/// What a disk is asked to do. Ranges are validated against the capacity before they leave the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOperation {
    /// Read `bytes` (a multiple of 512) from `sector`.
    Read {
        /// First sector of 512 bytes.
        sector: u64,
        /// Length.
        bytes: u32,
    },
    /// Write `data` (a multiple of 512 bytes) at `sector`.
    Write {
        /// First sector.
        sector: u64,
        /// What to write.
        data: Data,
    },
    /// Make all earlier completed writes durable.
    Flush,
    /// Forget the content.
    Discard {
        /// First sector.
        sector: u64,
        /// Length in sectors.
        sectors: u32,
    },
    /// Make the content zero.
    WriteZeroes {
        /// First sector.
        sector: u64,
        /// Length in sectors.
        sectors: u32,
        /// The space may be given back.
        unmap: bool,
    },
}

/// The bytes of a write. Clones share them, so the device, the gate and the disk keep one copy between them: they are
/// up to 2 MiB a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Arc<[u8]>);

impl Data {
    /// `length` bytes that `fill` writes; it finds zeroes.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn filled<E>(length: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Data, E> {
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        // Nobody shares it yet, so this copies nothing.
        fill(Arc::make_mut(&mut bytes))?;
        Ok(Data(bytes))
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Data {
    /// Copies once.
    fn from(bytes: Vec<u8>) -> Data {
        Data(bytes.into())
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Effects that wait to be taken, in the order in which the guest caused them.
pub type Effects = VecDeque<Effect>;
