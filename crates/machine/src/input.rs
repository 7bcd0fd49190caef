//! `Input`: everything non-deterministic that can happen to the guest. A closed list.
//!
//! An input is injected between two steps, is written to the log with that step, and is the only way by
//! which anything outside can change the guest (FT 2.1-a).

/// What enters the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The time: `mtime` in ticks of 100 ns, and how it goes on, in ticks per 2^32 steps.
    Clock {
        /// New `mtime`; ignored if the guest has already seen a later one.
        mtime: u64,
        /// Ticks per 2^32 steps from here on.
        rate: u32,
    },
    /// Bytes typed at a console. The board has one, the UART; what is for another port is dropped.
    Console {
        /// Which console: 0 is the UART.
        port: u8,
        /// The bytes that were typed, oldest first.
        bytes: Vec<u8>,
    },
    /// An Ethernet frame (no FCS, no virtio header) for the virtio-net device `port`.
    NetFrame {
        /// Which device.
        port: u8,
        /// Destination address first.
        frame: Vec<u8>,
    },
    /// A disk request is finished.
    DiskDone {
        /// Which disk.
        disk: u8,
        /// [`crate::DiskRequest::id`].
        id: u64,
        /// How it went.
        status: DiskStatus,
        /// What was read; empty for other operations.
        data: Vec<u8>,
    },
    /// Answer to [`crate::Effect::EntropyWanted`].
    Entropy {
        /// At most the number of bytes wanted.
        bytes: Vec<u8>,
    },
    /// The operator acts on the machine (FT 3.3-a).
    Control(Control),
}

/// How a disk request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskStatus {
    /// Done.
    Ok,
    /// The host could not do it: VIRTIO_BLK_S_IOERR.
    Failed,
}

/// Acts of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Switch the machine off now, without asking the guest.
    PowerOff,
    /// Press the reset button.
    Reset,
}
