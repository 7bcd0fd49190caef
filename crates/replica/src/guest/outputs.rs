//! `Outputs`: which effects are outputs, seen by others than the guest and so held by the rule of FT 2.2-c.
//!
//! The machine does not know: whether a write to a disk is an output depends on whose disk it is. Recorder,
//! replayer and keeper of a live guest ask here, so that all of them mean the same; a log is only readable
//! with the answers it was written with, so another answer is another version of the log.
//!
//! Nothing here holds an output or lets one go: that is the gate's business (roles/gate.rs).

use machine::{DiskOperation, DiskRequest, Effect};

use crate::event::Shown;

/// Tells outputs from other effects, for one guest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outputs;

impl Outputs {
    /// Is this effect an output?
    ///
    /// Others see consoles, networks and the power. A wish for entropy comes back only through the log.
    #[must_use]
    pub fn is_output(self, effect: &Effect) -> bool {
        match effect {
            Effect::ConsoleWrite { .. } | Effect::NetTransmit { .. } | Effect::PoweredOff(_) => true,
            Effect::Disk(request) => self.is_change(request),
            Effect::EntropyWanted { .. } => false,
        }
    }

    /// Does this request change a disk that others see (FT 4.1-a)?
    #[must_use]
    pub fn is_change(self, request: &DiskRequest) -> bool {
        self.is_shared(request.disk) && changes(&request.operation)
    }

    /// Do both replicas reach this disk? Then what the guest writes is what the other replica would read
    /// (FT 4.1-a). All disks of a pair are shared.
    fn is_shared(self, _disk: u8) -> bool {
        true
    }
}

/// An effect of the guest, sorted by who carries it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outward {
    /// An output that the world shows.
    Shown(Shown),
    /// A request that a disk does, be it an output or not.
    Disk(DiskRequest),
    /// A wish for random bytes, which the host draws.
    Entropy {
        /// How many bytes the guest wants.
        bytes: u32,
    },
}

impl Outward {
    /// Bytes that the guest has given out with it, which the gate counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Outward::Shown(shown) => shown.bytes(),
            Outward::Disk(DiskRequest {
                operation: DiskOperation::Write { data, .. },
                ..
            }) => data.len(),
            Outward::Disk(_) | Outward::Entropy { .. } => 0,
        }
    }
}

impl From<Effect> for Outward {
    fn from(effect: Effect) -> Outward {
        match effect {
            Effect::ConsoleWrite { port, bytes } => Outward::Shown(Shown::Console { port, bytes }),
            Effect::NetTransmit { port, frame } => Outward::Shown(Shown::Network { port, frame }),
            Effect::PoweredOff(state) => Outward::Shown(Shown::Power(state)),
            Effect::Disk(request) => Outward::Disk(request),
            Effect::EntropyWanted { bytes } => Outward::Entropy { bytes },
        }
    }
}

impl From<Shown> for Effect {
    fn from(shown: Shown) -> Effect {
        match shown {
            Shown::Console { port, bytes } => Effect::ConsoleWrite { port, bytes },
            Shown::Network { port, frame } => Effect::NetTransmit { port, frame },
            Shown::Power(state) => Effect::PoweredOff(state),
        }
    }
}

/// Does this operation change what a later read sees? A read does not: it comes back only through the log.
///
/// Neither does a flush. It makes durable what is completed already; issued early, late or twice, or by a
/// replica that the other one has replaced, it shows nothing to anybody. It may overtake held writes: it is
/// about those writes only whose completion the guest has seen (VIRTIO 5.2.6.2).
#[must_use]
pub fn changes(operation: &DiskOperation) -> bool {
    match operation {
        DiskOperation::Write { .. } | DiskOperation::Discard { .. } | DiskOperation::WriteZeroes { .. } => {
            true
        }
        DiskOperation::Read { .. } | DiskOperation::Flush => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_a_shared_disk_is_an_output_and_reads_and_flushes_are_none() {
        // FT 4.1-a.
        let (sector, sectors) = (0, 1);
        let cases = [
            (DiskOperation::Read { sector, bytes: 512 }, false),
            (DiskOperation::Flush, false),
            (
                DiskOperation::Write {
                    sector,
                    data: vec![0; 512].into(),
                },
                true,
            ),
            (DiskOperation::Discard { sector, sectors }, true),
            (
                DiskOperation::WriteZeroes {
                    sector,
                    sectors,
                    unmap: true,
                },
                true,
            ),
        ];
        for (operation, output) in cases {
            let effect = Effect::Disk(DiskRequest {
                disk: 0,
                id: 0,
                operation,
            });
            assert_eq!(Outputs.is_output(&effect), output, "{effect:?}");
        }
    }
}
