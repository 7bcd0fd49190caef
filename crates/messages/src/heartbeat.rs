//! `Heartbeat`: the datagrams that two replicas exchange beside their messages, and their bytes.
//!
//! `pulse` makes them and takes them in; the world carries each as one datagram, authenticated. All the same,
//! bytes are only claimed to be a heartbeat until they are decoded (E2, E4 of docs/style.md): decoding never
//! panics, whatever they are.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

use crate::time::Time;
use vmlog::bytes::{Malformed, Reader, Writer};
use vmlog::entry::Epoch;
use vmlog::parcel::Parcel;

/// A heartbeat datagram (FT 2.3-d): a sign of life that does not wait for TCP, and the lease with it.
///
/// The world delivers only what the peer's process sent on this link, each at most once (crates/host checks a
/// code and a counter); some get lost and some overtake others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The pair that the heartbeat is of.
    pub epoch: Epoch,
    /// The process that sent it.
    pub owner: u128,
    /// What the sender's own side of the pair has to say.
    pub beat: Beat,
}

/// The content of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Of the primary: its clock when it sent this. Comes back in [`Beat::Echo`].
    Sent(Time),
    /// Of the backup: the newest time of the primary's clock that has reached it, in a heartbeat or in
    /// [`Log::sent`](crate::message::Log::sent). Proof that the backup trusted the primary after that
    /// time, as [`Ack::echo`](crate::message::Ack::echo) is.
    Echo(Option<Time>),
    /// Of the primary's host, once the primary's process has ended: the process shows nothing any more.
    Ended {
        /// Is no write of the process under way at a disk any more either?
        settled: bool,
    },
}

const HEARTBEAT_MAGIC: [u8; 4] = *b"LSH2";
const BEAT_SENT: u8 = 0;
const BEAT_ECHO: u8 = 1;
const BEAT_NOTHING: u8 = 2;
const BEAT_ENDED: u8 = 3;
const BEAT_ENDED_SETTLED: u8 = 4;

impl Heartbeat {
    /// The bytes of the datagram.
    #[must_use]
    pub fn encode(&self) -> Parcel {
        let mut w = Writer::default();
        w.raw(&HEARTBEAT_MAGIC);
        w.raw(&self.epoch.0.to_le_bytes());
        w.raw(&self.owner.to_le_bytes());
        let (kind, time) = match self.beat {
            Beat::Sent(sent) => (BEAT_SENT, sent),
            Beat::Echo(Some(echo)) => (BEAT_ECHO, echo),
            Beat::Echo(None) => (BEAT_NOTHING, Time(0)),
            Beat::Ended { settled: false } => (BEAT_ENDED, Time(0)),
            Beat::Ended { settled: true } => (BEAT_ENDED_SETTLED, Time(0)),
        };
        w.raw(&[kind]);
        w.raw(&time.0.to_le_bytes());
        w.into_parcel()
    }

    /// What the other half of the pair `epoch` than `owner` says in this datagram; `None` for anything else.
    #[must_use]
    pub fn of_peer(bytes: &[u8], epoch: Epoch, owner: u128) -> Option<Beat> {
        let heartbeat = Heartbeat::decode(bytes).ok()?;
        (heartbeat.epoch == epoch && heartbeat.owner != owner).then_some(heartbeat.beat)
    }

    /// The heartbeat in this datagram.
    ///
    /// # Errors
    /// If the datagram is no heartbeat.
    pub fn decode(bytes: &[u8]) -> Result<Heartbeat, Malformed> {
        let mut r = Reader::new(bytes);
        if r.array()? != HEARTBEAT_MAGIC {
            return Err(Malformed::Tag(0));
        }
        let epoch = Epoch(u64::from_le_bytes(r.array()?));
        let owner = u128::from_le_bytes(r.array()?);
        let kind = r.array()?;
        let time = Time(u64::from_le_bytes(r.array()?));
        let beat = match kind {
            [BEAT_SENT] => Beat::Sent(time),
            [BEAT_ECHO] => Beat::Echo(Some(time)),
            [BEAT_NOTHING] => Beat::Echo(None),
            [BEAT_ENDED] => Beat::Ended { settled: false },
            [BEAT_ENDED_SETTLED] => Beat::Ended { settled: true },
            [unknown] => return Err(Malformed::Tag(unknown)),
        };
        r.end()?;
        Ok(Heartbeat { epoch, owner, beat })
    }
}
