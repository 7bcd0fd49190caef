//! `Effect`: everything the guest does to the outside. A closed list, deterministic.
//!
//! Devices emit effects; the machine stops for them ([`Stop::Effects`](crate::Stop)), and whoever runs the
//! machine takes them ([`Machine::take_effect`](crate::Machine::take_effect)) and decides what becomes of
//! each.
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
        /// The index of the network device in the configuration.
        port: u8,
        /// The bytes of the frame, from the destination address on.
        frame: Vec<u8>,
    },
    /// The guest submitted a disk request; write data is already copied out (FT 3.4-b).
    Disk(DiskRequest),
    /// The entropy device wants bytes; answered by [`crate::Input::Entropy`].
    EntropyWanted {
        /// How many bytes it wants.
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
    /// The index of the disk in the configuration.
    pub disk: u8,
    /// The number of the request, which is unique for its disk for the life of the guest: 0, 1, 2 and so on.
    pub id: u64,
    /// What the disk is asked to do.
    pub operation: DiskOperation,
}

/// What a disk is asked to do. Ranges are validated against the capacity before they leave the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOperation {
    /// Read `bytes` (a multiple of 512) from `sector`.
    Read {
        /// The first sector of 512 bytes.
        sector: u64,
        /// How many bytes to read.
        bytes: u32,
    },
    /// Write `data` (a multiple of 512 bytes) at `sector`.
    Write {
        /// The first sector.
        sector: u64,
        /// The bytes to write.
        data: Data,
    },
    /// Make all earlier completed writes durable.
    Flush,
    /// Forget what is in a range of sectors.
    Discard {
        /// The first sector.
        sector: u64,
        /// How many sectors.
        sectors: u32,
    },
    /// Make a range of sectors zero.
    WriteZeroes {
        /// The first sector.
        sector: u64,
        /// How many sectors.
        sectors: u32,
        /// Whether the disk may give the space back instead of writing zeroes.
        unmap: bool,
    },
}

/// The bytes of a write. Clones share them, so the device, the gate and the disk keep one copy between them:
/// there are up to 2 MiB of them in a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Arc<[u8]>);

impl Data {
    /// `length` bytes that `fill` writes, into zeroes.
    ///
    /// # Errors
    /// What `fill` returns.
    pub fn filled<E>(length: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Data, E> {
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        // Nobody shares the bytes yet, so this copies nothing.
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
    /// Copies the bytes once.
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
