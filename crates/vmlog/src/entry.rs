//! `Entry`: what can be in a log. File, channel and replay share these.
//!
//! A log is a list of entries, each at a step, and steps never fall. Together with the header it determines
//! the whole life of the guest. Only `record.rs` makes entries; only `entry_bytes.rs` knows their bytes.
//! Nothing that the guest could do differently the next time may stay out of them.

use machine::{DiskOperation, DiskRequest, Effect, Input, PowerState, Step};

/// A digest of the whole guest: one number per component, so that a mismatch names the first that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The name of each component and its digest, in an order that is the same on both sides.
    pub parts: Vec<(String, u64)>,
}

/// Number of a VM's ownership, which the arbiter grants and every takeover raises (FT 2.3-e).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that whoever takes over from the owner of this one must claim.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

/// Number of an entry in its log, counted from 1; 0 stands for no entry, or for the place before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// One item of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The step at which it happened.
    pub at: Step,
    /// What happened at that step.
    pub kind: EntryKind,
}

/// What happened at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An input came from outside and was injected here (FT 2.1-a).
    Input(Input),
    /// The guest produced an output here (FT 2.2-b): replay must come at least this far before going live.
    Output {
        /// CRC-32C of the output, so that a replica that produces another one is found out at once.
        check: u32,
    },
    /// Nothing happened up to here: replay may run on to this step.
    Progress,
    /// The guest's state here, as a digest: a replica that replays must have the same.
    Digest(Digest),
    /// A digest of the guest's state here begins, whose pages are hashed while the guest runs on. It takes
    /// the place of one that had begun and has not ended.
    DigestBegins,
    /// The digest of the guest's state at the last `DigestBegins`. Whoever has not seen that entry, since its
    /// part of the log begins behind it, has nothing to compare this one with.
    DigestEnds(Digest),
    /// Something of the pair's life that lies at a step. It changes nothing in the guest.
    Mark(Mark),
    /// The guest is off from here on, for good; the last entry of a log (FT 3.3-a).
    Off(PowerState),
}

/// Something of the pair's life that lies at a step on both sides (FT 3.3-a). A replay of a file ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// From here on the owner shows an output only once `member` has acknowledged its entry: whoever has
    /// received this entry may claim the epoch after `epoch` (docs/protocol.md, "Joining").
    Guarded {
        /// The epoch in which the member joins.
        epoch: Epoch,
        /// The process that has the epoch.
        owner: u128,
        /// The process that may claim from here on.
        member: u128,
    },
    /// The owner has stopped here and leaves the VM to its member.
    HandedOver {
        /// The epoch that ends here.
        epoch: Epoch,
    },
    /// From here on no new request goes to a disk.
    Quiesce,
    /// No request is at a disk here, on either side.
    Quiet,
    /// Requests go to the disks again.
    Resume,
    /// A snapshot with this name is taken here.
    Snapshot(u128),
    /// `member` may not claim any more.
    Dismissed {
        /// The process that is a member no longer.
        member: u128,
    },
    /// From here on the guest stands, as its operator wants (true), or it runs again. It is in the log so
    /// that a backup which goes on with the guest has it stand too.
    Paused(bool),
}

/// The check of an output: CRC-32C over a tag, the output's numbers and its bytes. It stands in the log, so
/// another way to compute it is another version of the log.
#[must_use]
pub fn check(effect: &Effect) -> u32 {
    let sum = |tag: u8, numbers: [u64; 3], bytes: &[u8]| {
        let mut crc = crc32c::crc32c(&[tag]);
        for number in numbers {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        crc32c::crc32c_append(crc, bytes)
    };
    match effect {
        Effect::ConsoleWrite { port, bytes } => sum(1, [u64::from(*port), 0, 0], bytes),
        Effect::NetTransmit { port, frame } => sum(2, [u64::from(*port), 0, 0], frame),
        Effect::PoweredOff(PowerState::Off) => sum(3, [0; 3], &[]),
        Effect::PoweredOff(PowerState::Failed(code)) => sum(4, [u64::from(*code), 0, 0], &[]),
        Effect::EntropyWanted { bytes } => sum(5, [u64::from(*bytes), 0, 0], &[]),
        Effect::Disk(DiskRequest { disk, id, operation }) => {
            let disk = u64::from(*disk);
            let mut crc = sum(6, [disk, *id, 0], &[]);
            let part = match operation {
                DiskOperation::Read { sector, bytes } => sum(7, [*sector, u64::from(*bytes), 0], &[]),
                DiskOperation::Write { sector, data } => sum(8, [*sector, 0, 0], data),
                DiskOperation::Flush => sum(9, [0; 3], &[]),
                DiskOperation::Discard { sector, sectors } => sum(10, [*sector, u64::from(*sectors), 0], &[]),
                DiskOperation::WriteZeroes {
                    sector,
                    sectors,
                    unmap,
                } => sum(11, [*sector, u64::from(*sectors), u64::from(*unmap)], &[]),
            };
            crc = crc32c::crc32c_append(crc, &part.to_le_bytes());
            crc
        }
    }
}
