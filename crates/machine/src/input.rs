//! `Input`: everything non-deterministic that can happen to the guest. A closed list.
//!
//! A recorder injects an input between two steps ([`Machine::inject`](crate::Machine::inject)) and writes it
//! to the log with that step; a replayer injects it again at the same step. There is no other way by which
//! anything outside can change the guest (FT 2.1-a).

/// What enters the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The time: `mtime` in ticks of 100 ns, and how it goes on, in ticks per 2^32 steps.
    Clock {
        /// New `mtime`; ignored if the guest has already seen a later one.
        mtime: u64,
        /// How `mtime` goes on from here, in ticks per 2^32 steps.
        rate: u32,
    },
    /// Bytes typed at a console. The board has one, the UART; what is for another port is dropped.
    Console {
        /// Which console: 0 is the UART.
        port: u8,
        /// The bytes that were typed, oldest first.
        bytes: Vec<u8>,
    },
    /// A break on the serial line of a console, which Linux takes as the beginning of a SysRq command. The
    /// board has one console, the UART; a break for another port is dropped.
    Break {
        /// Which console: 0 is the UART.
        port: u8,
    },
    /// A disk has become larger. A size that is not larger than the disk's changes nothing.
    DiskSize {
        /// The index of the disk in the configuration.
        disk: u8,
        /// The new capacity in sectors of 512 bytes.
        sectors: u64,
    },
    /// An Ethernet frame (no FCS, no virtio header) for the virtio-net device `port`.
    NetFrame {
        /// The index of the device in the configuration.
        port: u8,
        /// The bytes of the frame, from the destination address on.
        frame: Vec<u8>,
    },
    /// A disk request is finished.
    DiskDone {
        /// The index of the disk in the configuration.
        disk: u8,
        /// The request that is finished ([`crate::DiskRequest::id`]).
        id: u64,
        /// How the request went.
        status: DiskStatus,
        /// The bytes that were read; empty for other operations.
        data: Vec<u8>,
    },
    /// Random bytes: the answer to [`crate::Effect::EntropyWanted`].
    Entropy {
        /// The bytes, at most as many as were wanted.
        bytes: Vec<u8>,
    },
    /// The operator acts on the machine (FT 3.3-a).
    Control(Control),
}

/// How a disk request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskStatus {
    /// The request is done.
    Ok,
    /// The host could not do the request: the guest reads VIRTIO_BLK_S_IOERR.
    Failed,
}

/// What the operator does to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Switch the machine off now, without asking the guest.
    PowerOff,
    /// Press the reset button.
    Reset,
}
