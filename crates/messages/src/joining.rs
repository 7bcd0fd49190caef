//! What two replicas say to each other when a replica joins the other one, and its bytes: who each is, how
//! the guest's state comes to the backup, and where its log begins.
//!
//! These are the contents of messages: `message` puts a tag before each. The handshake says and hears
//! [`Hello`] and [`Start`], the two sides of a clone [`CutAt`]. Bytes are only claimed to be such a content
//! until they are decoded (E2, E4 of docs/style.md): decoding never panics, whatever they are.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

use std::fmt;

use machine::Step;

use crate::limits;
use crate::time::Span;
use vmlog::bytes::{Malformed, Reader, Writer};
use vmlog::entry::{Epoch, Seq};
use vmlog::entry_bytes::Base;
use vmlog::header::Header;

/// The newest version of the messages, and of the log in them, that this program speaks. The first tag and
/// the two numbers behind it never change their places.
pub const PROTOCOL: u64 = 5;
/// The oldest version that this program speaks. Two sides speak the highest that both do.
pub const PROTOCOL_OLDEST: u64 = 5;

/// Which half of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Runs the guest and records.
    Primary,
    /// Replays the log and waits.
    Backup,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Primary => "primary",
            Side::Backup => "backup",
        })
    }
}

/// Who a replica is and what it would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Name of the VM; empty for a backup that waits for whichever VM comes.
    pub vm: String,
    /// Which half it wants to be.
    pub side: Side,
    /// The process: a random number drawn at its start.
    pub owner: u128,
    /// The failure-detection timeout it is configured with.
    pub timeout: Span,
    /// The machine. The backup's seeds do not count. `None`: a backup that waits for whichever VM comes, and
    /// takes its machine over.
    pub header: Option<Header>,
    /// How the VM is set up around its machine (disks, networks, arbiter), in the words of VM.toml, for a
    /// backup that waits for whichever VM comes. Empty: the other side knows by itself.
    pub settings: String,
}

/// What the primary decides about the pair that is about to form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The epoch of the pair.
    pub epoch: Epoch,
    /// The timeout of both: the longer of the two.
    pub timeout: Span,
    /// How the guest's state comes to the backup.
    pub how: How,
    /// The machine, with the seeds, and the step at which the log starts.
    pub header: Header,
}

/// How the guest's state comes to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both sides boot the same machine, and the log begins at its first step.
    Boot,
    /// The guest runs already, and its state is copied over a second link, the bulk link (FT 3.1-a).
    Clone {
        /// What the bulk link must show, so that it is known to belong to this link.
        token: [u8; 16],
    },
}

/// Where an apprentice's life begins: the guest was stopped here for a moment, and its log goes on from here
/// (FT 3.1-b). The guest's state at this step comes over the bulk link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutAt {
    /// The last entry before the cut. Its step is the guest's at the cut.
    pub base: Base,
    /// How many outputs the guest had produced in its life.
    pub outputs: u64,
    /// How many of them have left: fewer, if a gate holds some.
    pub released: u64,
    /// The guest's wishes for entropy that had no answer, in order.
    pub entropy: Vec<u32>,
}

const SIDE_PRIMARY: u8 = 0;
const SIDE_BACKUP: u8 = 1;

const HOW_BOOT: u8 = 0;
const HOW_CLONE: u8 = 1;

impl Hello {
    /// Writes the versions that this program speaks, and the greeting behind them.
    pub(crate) fn write(&self, w: &mut Writer) {
        w.varint(PROTOCOL);
        w.varint(PROTOCOL_OLDEST);
        w.bytes(self.vm.as_bytes());
        w.raw(&[match self.side {
            Side::Primary => SIDE_PRIMARY,
            Side::Backup => SIDE_BACKUP,
        }]);
        w.raw(&self.owner.to_le_bytes());
        w.varint(self.timeout.0);
        w.raw(&[u8::from(self.header.is_some())]);
        if let Some(header) = &self.header {
            header.write(w);
        }
        w.bytes(self.settings.as_bytes());
    }

    /// Reads a greeting whose versions have been read.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Hello, Malformed> {
        Ok(Hello {
            vm: r.text(limits::TEXT_BYTES_MAX)?,
            side: side(r)?,
            owner: u128::from_le_bytes(r.array()?),
            timeout: Span(r.varint()?),
            header: r.truth()?.then(|| Header::read(r)).transpose()?,
            settings: r.text(limits::SETTINGS_BYTES_MAX)?,
        })
    }
}

impl Start {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.varint(self.epoch.0);
        w.varint(self.timeout.0);
        match self.how {
            How::Boot => w.raw(&[HOW_BOOT]),
            How::Clone { token } => {
                w.raw(&[HOW_CLONE]);
                w.raw(&token);
            }
        }
        self.header.write(w);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Start, Malformed> {
        Ok(Start {
            epoch: Epoch(r.varint()?),
            timeout: Span(r.varint()?),
            how: match r.array()? {
                [HOW_BOOT] => How::Boot,
                [HOW_CLONE] => How::Clone { token: r.array()? },
                [unknown] => return Err(Malformed::Tag(unknown)),
            },
            header: Header::read(r)?,
        })
    }
}

impl CutAt {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.varint(self.base.seq.0);
        w.varint(self.base.step.0);
        w.varint(self.base.mtime);
        w.varint(u64::from(self.base.rate));
        w.varint(self.outputs);
        w.varint(self.released);
        w.varint(u64::try_from(self.entropy.len()).unwrap_or(u64::MAX));
        for bytes in &self.entropy {
            w.varint(u64::from(*bytes));
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<CutAt, Malformed> {
        let small = |r: &mut Reader<'_>| u32::try_from(r.varint()?).map_err(|_| Malformed::TooLarge);
        let base = Base {
            seq: Seq(r.varint()?),
            step: Step(r.varint()?),
            mtime: r.varint_at_most(limits::MTIME_MAX)?,
            rate: small(r)?,
        };
        let (outputs, released) = (r.varint()?, r.varint()?);
        let mut entropy = Vec::new();
        for _ in 0..r.varint_at_most(limits::ENTROPY_WISHES_MAX)? {
            entropy.push(small(r)?);
        }
        Ok(CutAt {
            base,
            outputs,
            released,
            entropy,
        })
    }
}

fn side(r: &mut Reader<'_>) -> Result<Side, Malformed> {
    match r.array()? {
        [SIDE_PRIMARY] => Ok(Side::Primary),
        [SIDE_BACKUP] => Ok(Side::Backup),
        [unknown] => Err(Malformed::Tag(unknown)),
    }
}
