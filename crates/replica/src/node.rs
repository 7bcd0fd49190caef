//! `Node`: the VMM without the world. Events go in with the time, actions come out, `slice` runs the guest.
//!
//! `host::drive` and `sim::world` are thin loops around it: handle what came, `slice`, carry out every
//! action of `poll`, sleep until `deadline` if `slice` is not busy. Nothing here reads a clock or a socket.

use std::sync::atomic::AtomicBool;

use machine::{DiskRequest, DiskStatus, Effect, Input};

use crate::{Guest, Header, Metrics, Span, Time};

/// How a node runs its guest, in every role.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps between two digests in the log; `None`: none.
    pub digest_every: Option<u64>,
    /// Write a log file that begins with this header; its bytes come as [`Action::Append`].
    pub record: Option<Header>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            digest_every: Some(crate::limits::DIGEST_EVERY_DEFAULT),
            record: None,
        }
    }
}

/// How one half of a pair runs.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// The epoch of this pair, granted by the arbiter at the handshake. A side that suspects the other
    /// claims the one after it.
    pub epoch: Epoch,
    /// This process: a random number drawn at its start.
    pub owner: u128,
    /// Silence for this long is suspicion. At least 100 ms, default 500 ms; equal on both sides.
    pub timeout: Span,
    /// As for a guest that runs alone.
    pub run: Options,
}

/// Number of a pairing, or of the claim that ended it; counts up per VM and is decided by the arbiter (D6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A test-and-set at the arbiter: "I, `owner`, am the one for (vm, `epoch`)" (FT 2.3-e). Asking again with
/// the same owner gives the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which epoch.
    pub epoch: Epoch,
    /// Who asks: a random number drawn by each replica process at its start.
    pub owner: u128,
}

/// The arbiter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody was first; the epoch is ours.
    Won,
    /// Somebody else has it.
    Lost,
    /// No answer could be had; nothing is known.
    Unreachable,
}

/// A finished disk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskAnswer {
    /// Which disk.
    pub disk: u8,
    /// Which request.
    pub id: u64,
    /// How it went.
    pub status: DiskStatus,
    /// What was read.
    pub data: Vec<u8>,
}

/// What the world tells a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of one message from the peer, whole and in order, decrypted.
    Peer(Vec<u8>),
    /// The link to the peer is gone; nothing more will arrive on it.
    LinkLost,
    /// A heartbeat datagram from the peer (unauthenticated until decoded by the node).
    Heartbeat(Vec<u8>),
    /// Something for the guest: console bytes, a frame, entropy, the operator.
    Input(Input),
    /// A disk request is finished.
    DiskDone(DiskAnswer),
    /// The arbiter's answer to [`Action::Ask`].
    Verdict(Claim, Verdict),
}

/// What a node tells the world to do. Carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message to the peer, over the link, now.
    Send(Vec<u8>),
    /// Send this heartbeat datagram to the peer.
    Heartbeat(Vec<u8>),
    /// Show this effect to the outside. Never a disk request.
    Release(Effect),
    /// Do this disk request and answer with [`Event::DiskDone`].
    Disk(DiskRequest),
    /// Append these bytes to the log file.
    Append(Vec<u8>),
    /// Ask the arbiter; answer with [`Event::Verdict`].
    Ask(Claim),
    /// This replica is alone and live from here on: become the writer of the disks under this epoch, then
    /// announce the guest's addresses (FT 2.3-c). Disk requests follow.
    GoLive(Epoch),
    /// Stop for good: run nothing, release nothing, send nothing. The process ends.
    Halt(Halt),
}

/// Why a replica stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The guest is off.
    Off(machine::PowerState),
    /// The arbiter gave the epoch to the other side (FT 2.3-e).
    Lost(Epoch),
    /// This replica's execution parted from the log: at this step, first in this component.
    Diverged {
        /// Where.
        at: machine::Step,
        /// What.
        part: String,
    },
    /// The peer broke the protocol; the sentence says how.
    Peer(String),
}

/// When a node wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: the guest has more to run.
    Busy,
    /// When an event comes, or at this time.
    At(Option<Time>),
    /// Never.
    Ended,
}

/// One replica: a guest, its role and its log.
pub struct Node<G: Guest> {
    guest: G,
    metrics: Metrics,
}

impl<G: Guest> Node<G> {
    /// A guest that runs alone, from the step where it stands.
    pub fn solo(guest: G, _now: Time, _options: Options) -> Node<G> {
        Node {
            guest,
            metrics: Metrics::default(),
        }
    }

    /// The first half of a pair, after the handshake: runs the guest and sends the log.
    pub fn primary(guest: G, _now: Time, _options: PairOptions) -> Node<G> {
        Node {
            guest,
            metrics: Metrics::default(),
        }
    }

    /// The second half of a pair, after the handshake: replays the log.
    pub fn backup(guest: G, _now: Time, _options: PairOptions) -> Node<G> {
        Node {
            guest,
            metrics: Metrics::default(),
        }
    }

    /// Takes what the world tells. Never runs the guest.
    pub fn handle(&mut self, _now: Time, _event: Event) {}

    /// Runs the guest for a bounded while (about a millisecond). Another thread may set `cut` to have it
    /// end soon; the caller clears it before.
    pub fn slice(&mut self, _now: Time, _cut: &AtomicBool) -> Next {
        Next::Ended
    }

    /// The next thing to do. Call after every `handle` and `slice` until `None`, with the time *of this
    /// call*: an output whose time is over does not leave.
    pub fn poll(&mut self, _now: Time) -> Option<Action> {
        None
    }

    /// When `slice` must be called again at the latest, if no event comes before.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// What the guest's clock shows, in nanoseconds after its step 0.
    pub fn wall(&self) -> u64 {
        self.guest.mtime() * 100
    }

    /// The guest, to look at.
    pub fn guest(&self) -> &G {
        &self.guest
    }

    /// What has been counted and measured so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
