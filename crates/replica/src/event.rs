//! What a node and its world say to each other: events go in, actions come out, and the words that both use.
//!
//! A world makes events for its [`crate::Node`] and carries out its actions. Nothing here decides anything.

use machine::{Batch, DiskRequest, DiskStatus, Input, PowerState};

use messages::joining::Hello;
use messages::time::{Span, Time};
pub use vmlog::entry::Epoch;
use vmlog::header::ImageId;
use vmlog::parcel::Parcel;

/// Names a link to another replica for as long as this process lives. The world numbers its links, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// Why an epoch is claimed. No answer depends on it: it stands in the arbiter's record, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimKind {
    /// The VM is started, alone or as the primary of a pair.
    #[default]
    Start,
    /// One side of a pair suspects the other and wants to go on alone.
    Failover,
    /// An owner whose guest runs on wants a member out of the epoch.
    Resolve,
    /// The owner has handed the VM over to the process that claims.
    HandOver,
}

/// A test-and-set at the arbiter: "I, `owner`, am the one for (vm, `epoch`)" (FT 2.3-e). Asking again with
/// the same owner gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The epoch that is claimed.
    pub epoch: Epoch,
    /// Who asks: a random number drawn by each replica process at its start.
    pub owner: u128,
    /// Who has the epoch before this one. An arbiter that does not know the same is not the arbiter of this
    /// pair: it must answer [`Verdict::Unreachable`], whatever it knows of `epoch`. `None`: there is no pair
    /// yet that could be split.
    pub after: Option<u128>,
    /// The processes that are members of the claimed epoch from its first moment, and so may claim the epoch
    /// after it. If this claim loses, they count for nothing: those of the record that won do.
    pub heirs: Vec<u128>,
    /// Why the epoch is claimed.
    pub kind: ClaimKind,
}

/// The arbiter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody was faster: the epoch is this side's.
    Won,
    /// Somebody else has the epoch.
    Lost {
        /// Is the asker one of the [`Claim::heirs`] of the claim that won? Then it is a member of that epoch.
        heir: bool,
    },
    /// No answer could be had, or only that of another arbiter; nothing is known.
    Unreachable,
}

/// A finished disk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskAnswer {
    /// Number of the disk.
    pub disk: u8,
    /// Number of the request, as the guest's device gave it.
    pub id: u64,
    /// Whether the disk did it.
    pub status: DiskStatus,
    /// What was read; empty for any other request.
    pub data: Vec<u8>,
}

/// What the world tells a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of one message from this peer: whole, in order, and decrypted.
    Peer(PeerId, Vec<u8>),
    /// The link to this peer is gone; nothing more will arrive on it.
    LinkLost(PeerId),
    /// A heartbeat datagram from this peer, of which the node still checks for which pair it is.
    Heartbeat(PeerId, Vec<u8>),
    /// An input for the guest: console bytes, a frame, entropy, or an order of the operator.
    Input(Input),
    /// A disk request is finished.
    DiskDone(DiskAnswer),
    /// The arbiter's answer to [`Action::Ask`].
    Verdict(Claim, Verdict),
    /// The replica's network ports were just seen to lead somewhere (`true`), or are known to lead nowhere
    /// (`false`: the gateway is gone, the tap has no carrier). `true` is to be said again at least every
    /// quarter of the timeout: older news counts as `false`. A world that never says it has no ports to ask.
    Ports(bool),
    /// The operator wants this primary to leave the VM to its backup. In any other role it means nothing.
    Leave,
    /// The operator wants this primary and its backup to change roles (FT 3.3-c). In any other role it means
    /// nothing.
    HandOver,
    /// A link to a process is made that shall become this VM's backup while the guest runs (FT 3.1-c). A
    /// replica that cannot take it now says why with [`Action::Tell`] and hangs up.
    Joined(Box<Joined>),
    /// Something came over the bulk link from this peer, whole and in order: for an apprentice only.
    Bulk(PeerId, Bulk),
    /// The bulk link to this peer takes so many bytes now. It is said once the bulk link is open, and each
    /// time it has room again.
    BulkRoom {
        /// To whom the bulk link goes.
        peer: PeerId,
        /// Bytes that may be handed over, before they are compressed.
        bytes: u64,
        /// Bytes a second that went over the bulk link lately; `None`: not measured yet.
        rate: Option<u64>,
        /// Has this host processors to spare? What packs and sends pages does so on these.
        spare: bool,
    },
    /// The arbiter's answer to [`Action::Check`].
    Checked(Epoch, Checked),
    /// The operator wants no backup any more. A replica that has none, and gets none, takes no notice.
    Unprotect,
    /// The operator wants the guest to stand (true), or to run again. A backup takes no notice: its guest
    /// does what the log says.
    Pause(bool),
    /// Something about a snapshot of the guest, which its operator wants or which is under way.
    Snapshot(SnapshotEvent),
}

/// What the world tells a node about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotEvent {
    /// The operator wants one. The answer is [`Action::Snapshot`], which says what becomes of it.
    Begin(SnapshotOrder),
    /// Whoever keeps it takes so many bytes now, before they are compressed.
    Room(u64),
    /// The guest's disks are kept as they were at its step, or nobody keeps them: requests may go on.
    GoOn,
    /// Whoever was to keep it is gone or wants it no more; the sentence says why.
    Lost(String),
}

/// How a snapshot is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOrder {
    /// The name by which the log calls it: a random number.
    pub id: u128,
    /// Has the guest disks? Then it is taken when no request is at any of them (FT 3.3-d).
    pub disks: bool,
    /// Are requests kept from the disks, from its step on, until [`SnapshotEvent::GoOn`]?
    pub hook: bool,
}

/// A piece of a snapshot, in the order in which a node gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotPiece {
    /// It is taken at this step: everything but memory. No request is at a disk here, if it was ordered so.
    State {
        /// The step.
        step: machine::Step,
        /// Everything but memory, as bytes.
        state: Vec<u8>,
        /// How many pages of memory follow.
        pages: u32,
    },
    /// Pages of memory as they were at that step, each once.
    Pages(Batch),
    /// That was all.
    Over {
        /// For how long the guest stood since hardly more pages could be kept for it.
        stood: Span,
    },
    /// It comes to nothing; the sentence says why. The guest has not noticed.
    Failed(String),
}

/// A link on which a process may become the backup of the guest that runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The link.
    pub peer: PeerId,
    /// How this side greets: its VM, its machine, and the settings around it.
    pub me: Hello,
    /// A random number by which the other side recognises the bulk link.
    pub token: [u8; 16],
}

/// A piece of a clone on the bulk link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// Pages of the guest's memory.
    Pages(Batch),
    /// The state at the cut of everything but memory.
    State(Vec<u8>),
    /// That was all: with this the apprentice has the guest's whole state at the cut.
    Sealed,
}

/// What the arbiter says when a live replica asks whether its epoch is still its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The epoch is the asker's, and nobody has claimed a later one.
    Yours,
    /// Somebody has claimed a later epoch, so the asker must show nothing more.
    Superseded,
    /// No answer could be had.
    Unreachable,
}

/// What the guest shows to people and machines outside: every output but a change of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Bytes written to a console: port 0 is the UART.
    Console {
        /// Number of the console.
        port: u8,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// An Ethernet frame sent to a network (no FCS, no virtio header).
    Network {
        /// Which virtio-net device.
        port: u8,
        /// The frame, destination address first.
        frame: Vec<u8>,
    },
    /// The machine is off; it shows nothing after this.
    Power(PowerState),
}

impl Shown {
    /// How many bytes of the guest it shows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Shown::Console { bytes, .. } => bytes.len(),
            Shown::Network { frame, .. } => frame.len(),
            Shown::Power(_) => 0,
        }
    }
}

/// What a node tells the world to do. Carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message to the peer, over its link, now.
    Send(PeerId, Parcel),
    /// Send this heartbeat datagram to the peer.
    Heartbeat(PeerId, Parcel),
    /// Leave this datagram with whoever watches this process, to be sent to the peer as a heartbeat is, once
    /// the process has ended and never before (docs/protocol.md, "Death notices"). A later one takes its
    /// place. A world in which nobody watches drops it: then a death is found out by silence.
    Notice(PeerId, Parcel),
    /// Show this to the outside. A change of a disk, the other kind of output, is an [`Action::Disk`].
    Release(Shown),
    /// Draw so many random bytes and bring them as [`Input::Entropy`].
    Entropy {
        /// How many bytes the guest wants.
        bytes: u32,
    },
    /// Do this disk request and answer with [`Event::DiskDone`].
    Disk(DiskRequest),
    /// Append these bytes to the log file of a recording.
    Append(Parcel),
    /// Ask the arbiter; answer with [`Event::Verdict`].
    Ask(Claim),
    /// Ask the arbiter whether this process, `owner`, still has the epoch, and nobody a later one; answer
    /// with [`Event::Checked`].
    Check(Epoch, u128),
    /// Open the bulk link to this peer, which shows `token`, and send these images over it first. Answer with
    /// [`Event::BulkRoom`] once it is open, or with [`Event::LinkLost`] if it cannot be opened or breaks.
    Supply {
        /// To whom the bulk link goes.
        peer: PeerId,
        /// What it shows.
        token: [u8; 16],
        /// The images, by their content.
        images: Vec<ImageId>,
    },
    /// Send this over the bulk link to the peer.
    Bulk(PeerId, Bulk),
    /// Close the links to this peer, once what was sent has left. No event of it means anything any more.
    HangUp(PeerId),
    /// Close the links to this peer at once; what is queued for it is not sent, and no event of it means
    /// anything any more.
    Drop(PeerId),
    /// Give this to whoever keeps the snapshot that is under way, or was asked for.
    Snapshot(SnapshotPiece),
    /// Tell whoever looks after the VM. Nothing depends on it.
    Tell(News),
    /// This replica is live from here on: become the writer of the disks under this epoch, then
    /// announce the guest's addresses (FT 2.3-c). Disk requests follow.
    GoLive(Epoch),
    /// This replica was live and is the backup of this peer from here on: leave the guest's network ports and
    /// consoles to the other side, and be no writer of the disks any more. No request of this process is at a
    /// disk.
    StandBy {
        /// The other side.
        peer: PeerId,
        /// Its process, as the arbiter knows it.
        owner: u128,
        /// The epoch that it has won.
        epoch: Epoch,
    },
    /// Stop for good: run nothing, release nothing, send nothing. The process ends.
    Halt(Halt),
}

/// What becomes of a VM's protection, for whoever looks after the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A process on its way to be the backup has come so far.
    Cloning(PeerId, Phase),
    /// A process will not become the backup; the sentence says why. The guest has not noticed.
    Abandoned(PeerId, String),
    /// The VM is protected from here on: the process may claim the next epoch.
    Guarded(PeerId),
    /// The backup is dismissed, as the operator wanted: it has promised not to claim, or the arbiter has
    /// given the next epoch to this side.
    Dismissed(PeerId),
    /// The backup could follow only so slowly, and the arbiter is asked to exclude it. The guest runs on.
    FallsBehind(PeerId, Slowness),
    /// Such a backup is excluded at the arbiter: the VM has none from here on.
    TooSlow(PeerId, Slowness),
    /// The other side is live from here on, and this one is its backup, as the operator wanted.
    HandedOver(PeerId),
    /// The VM stays here, though the operator wanted it to be handed over; the sentence says why.
    NotHandedOver(PeerId, String),
    /// The backup does not answer, and the arbiter neither: the VM keeps its backup for now.
    NotDismissed(PeerId),
    /// The guest stands from here on, as the operator wants (true), or runs again; the backup knows it.
    Paused(bool),
}

impl News {
    /// Whom the news are about; `None`: the guest.
    #[must_use]
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            News::Cloning(peer, _)
            | News::Abandoned(peer, _)
            | News::Guarded(peer)
            | News::Dismissed(peer)
            | News::NotDismissed(peer)
            | News::FallsBehind(peer, _)
            | News::TooSlow(peer, _)
            | News::HandedOver(peer)
            | News::NotHandedOver(peer, _) => Some(*peer),
            News::Paused(_) => None,
        }
    }
}

/// How fast a guest could run, so that its backup could follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slowness {
    /// The share of its time in which the guest was allowed to run, in thousandths, on the mean.
    pub permille: u32,
    /// For how long.
    pub over: Span,
}

/// How far a process is on its way to be the backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is called, looks whether it can be the backup, and gets the images that it lacks.
    #[default]
    Connecting,
    /// The guest's memory is copied while the guest runs.
    Copying,
    /// The guest was cut, and what it has not overwritten since is copied.
    Sealing,
    /// It has the whole state, and replays the log faster than the guest writes it.
    CatchingUp,
    /// It has caught up, and the arbiter is asked whether the epoch is still the owner's.
    Arming,
}

/// Why a replica stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The guest is off, so there is nothing more to do.
    Off(PowerState),
    /// The arbiter gave the epoch to the other side (FT 2.3-e).
    Lost(Epoch),
    /// This replica's execution parted from the log.
    Diverged {
        /// Step at which it was noticed.
        at: machine::Step,
        /// The first component that differs.
        part: String,
    },
    /// The peer broke the protocol; the sentence says how.
    Peer(String),
    /// This primary has left the VM to its backup, as the operator wanted.
    Left,
    /// This apprentice has not become a member; the sentence says why. The VM is none the worse.
    Abandoned(String),
    /// This backup was dismissed: its VM's operator wants it no longer, and it has promised not to claim.
    Dismissed,
}

/// When a node wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: the guest has more to run.
    Busy,
    /// When an event comes, or at this time.
    At(Option<Time>),
    /// Never: the node has ended.
    Ended,
}

/// What a replica is at present; `roles/table.rs` holds the table of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleName {
    /// Alone: inputs come from the world, outputs leave at once.
    #[default]
    Solo,
    /// Runs the guest, sends the log, holds outputs until they are acknowledged.
    Primary,
    /// Replays the log and keeps outputs until the primary's have left.
    Backup,
    /// Gets the state of a guest that runs elsewhere, and replays its log. It may not claim.
    Apprentice,
    /// Has suspected its peer and asks the arbiter. Shows nothing to the world.
    Claiming,
    /// Was the primary, has handed the VM over to its backup, and waits to hear that this is live. Shows
    /// nothing to the world.
    Handing,
    /// Has stopped for good.
    Halted,
}

/// Why a side stopped trusting its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// The link broke.
    LinkLost,
    /// Neither a message nor a heartbeat came for the timeout.
    Silence,
    /// Nothing came over the link for [`crate::limits::LINK_PATIENCE`] or four timeouts, whichever is longer,
    /// though heartbeats still come: the peer is alive, but its link is of no use.
    LinkSilence,
    /// The peer said that its execution parted from the log.
    Diverged,
    /// The backup could not follow for too long.
    Slow,
    /// The peer sent what no correct peer sends.
    Garbage,
    /// The primary said that it leaves the VM to this backup.
    Left,
    /// The primary's host said that the primary's process has ended.
    Ended,
}
