//! `Handshake`: how two processes become a pair, before either of them has a node. Like `Node` it takes
//! events and gives actions, and does no IO itself.
//!
//! ```text
//! primary                                   backup
//!    | Hello ---------------------------> <---------------------------- Hello |
//!    | <---------------------------- Welcome      (or Refuse, from either side)|
//!    | AskNext: the arbiter grants an epoch                                    |
//!    | Start{epoch, seeds} ---------------> Prove that arbiter and disks are shared|
//!    |                                                        Build the machine|
//!    | <------------------------------ Ready                                   |
//!  Done                                                                      Done
//! ```
//! If the guest runs already, the backup becomes an apprentice of it: the primary has its epoch, and sends
//! what the backup lacks over a second link (`Supply`) before that builds a machine without a state.
//!
//! Both sides check the other's greeting by themselves, so that both can say why they do not fit. No side is
//! ever done before both are known to see the same arbiter and the same disks.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

use std::collections::VecDeque;

use crate::event::Epoch;
use crate::limits;
use crate::mutation::{self, Mutation};
use messages::joining::{Hello, How, PROTOCOL, Side, Start};
use messages::message::Message;
use messages::time::{Span, Time};
use vmlog::bytes::Malformed;
use vmlog::header::{Header, ImageId, Mismatch};
use vmlog::parcel::Parcel;

/// What the world tells a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeEvent {
    /// Bytes of one message from the peer, whole and in order.
    Peer(Vec<u8>),
    /// The link to the peer is gone.
    LinkLost,
    /// [`HandshakeAction::Consider`]: this host can be the backup of that VM, and has not these images of it.
    Fits {
        /// The images that the primary must send, by their content.
        lacks: Vec<ImageId>,
    },
    /// [`HandshakeAction::Consider`]: this host cannot; the sentence says why.
    Unfit(String),
    /// The arbiter's answer to [`HandshakeAction::AskNext`].
    Granted(Epoch),
    /// The arbiter cannot be asked now.
    ArbiterUnreachable,
    /// [`HandshakeAction::Prove`]: both sides see the same arbiter and the same disks.
    Proven,
    /// [`HandshakeAction::Prove`]: they do not, or it cannot be seen; the sentence says what differs.
    NotShared(String),
    /// [`HandshakeAction::Build`]: the machine is built.
    Built,
    /// [`HandshakeAction::Build`]: the machine cannot be built; the sentence says why.
    BuildFailed(String),
}

/// What a handshake tells the world to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeAction {
    /// Send this message to the peer.
    Send(Parcel),
    /// Claim an epoch for the pair, as the primary's `Caller` says, and answer with
    /// [`HandshakeEvent::Granted`] or [`HandshakeEvent::ArbiterUnreachable`].
    AskNext,
    /// Backup that waits for whichever VM comes: may this one be backed up here, and what of it is not here?
    /// Answer with [`HandshakeEvent::Fits`] or [`HandshakeEvent::Unfit`].
    Consider(Box<Hello>),
    /// Primary of a guest that runs: open the bulk link, which shows `token`, and send these images over it.
    Supply {
        /// What the bulk link must show.
        token: [u8; 16],
        /// The images, by their content.
        images: Vec<ImageId>,
    },
    /// Look at this side's arbiter and at the locks of its disks: `epoch` must be claimed and locked there,
    /// by `owner`, the primary that calls. Answer with [`HandshakeEvent::Proven`] or
    /// [`HandshakeEvent::NotShared`].
    Prove {
        /// The epoch that the primary says it has.
        epoch: Epoch,
        /// The primary's process, which must be the one that has claimed and locked.
        owner: u128,
    },
    /// Build the machine of this header, without a state if it is to be cloned, and answer with
    /// [`HandshakeEvent::Built`].
    Build(Start),
    /// The pair is formed: make the node.
    Done {
        /// What the primary has decided about the pair.
        start: Start,
        /// The primary's process, which has the epoch.
        primary: u128,
        /// The backup's process.
        backup: u128,
    },
    /// No pair; close the link.
    Failed(Failure),
}

/// Why there is no pair.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The other side speaks another version of the protocol.
    #[error("the other side speaks version {theirs} of the protocol, this side version {PROTOCOL}")]
    Protocol {
        /// Version of the other side.
        theirs: u64,
    },
    /// The other side is of another VM.
    #[error("the other side is of the VM `{theirs}`, this side of `{ours}`; give both the same name")]
    Vm {
        /// Name of the other side's VM.
        theirs: String,
        /// Name of this side's VM.
        ours: String,
    },
    /// This side boots a VM, and the other waits for one that runs.
    #[error(
        "the other side waits for a VM that runs already; start this one with `lockstep run` and protect it"
    )]
    WaitsForRunning,
    /// This side cannot be the backup of the other side's VM; the sentence says why.
    #[error("{0}")]
    Unfit(String),
    /// Both sides are configured as the same half of a pair.
    #[error("both sides want to be the {0}; start one of them as the other half")]
    SameSide(Side),
    /// Both greetings name the same process: the link leads back, or a random number generator is broken.
    #[error("the link leads back to this very process")]
    Myself,
    /// The two sides are configured as different machines.
    #[error("the two sides are not the same machine: {0}; both need the same")]
    Machine(#[from] Mismatch),
    /// A timeout that is out of range, or a decision for another timeout than the longer of the two.
    #[error(
        "the failure-detection timeout must be between {} and {} ms",
        limits::TIMEOUT_MIN.0 / 1_000_000,
        limits::TIMEOUT_MAX.0 / 1_000_000
    )]
    Timeout,
    /// The other side's reason.
    #[error("the other side refuses: {0}")]
    Refused(String),
    /// The other side sent bytes that are no message.
    #[error("the other side sent what is no message: {0}")]
    Garbage(#[from] Malformed),
    /// The other side sent a message that does not belong at this point of the handshake.
    #[error("the other side sent a message out of turn")]
    OutOfTurn,
    /// The other side does not answer in time.
    #[error("the other side does not answer")]
    Silence,
    /// The link broke before the pair was formed.
    #[error("the link broke")]
    LinkLost,
    /// The arbiter, which grants the epoch of the pair, could not be asked.
    #[error("the arbiter cannot be reached, so no pair can be formed")]
    Arbiter,
    /// The two sides do not share their arbiter or a disk; the sentence says which.
    #[error("{0}")]
    NotShared(String),
    /// The machine could not be built here.
    #[error("the machine cannot be built: {0}")]
    Build(String),
}

/// What a side waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Either side: the other's greeting.
    Hello,
    /// Primary: the backup's consent. `timeout`: the longer one of both sides.
    Welcome { timeout: Span },
    /// Primary: an epoch from the arbiter.
    Epoch { timeout: Span },
    /// Primary: the backup's word that it has built its machine.
    Ready(Start),
    /// Backup that waits for whichever VM comes: whether this host can take it.
    Fit { theirs: Box<Hello> },
    /// Backup: the primary's decision.
    Start { timeout: Span, header: Header },
    /// Backup: whether this side's arbiter and disks are the primary's.
    Proof(Start),
    /// Backup: this side's machine.
    Build(Start),
    /// Nothing any more: the handshake is done or has failed.
    Over,
}

/// One side of a handshake.
#[derive(Debug)]
pub struct Handshake {
    /// What this side says of itself.
    me: Hello,
    /// Primary of a guest that runs: its epoch, and the token of the bulk link; `None`: the guest boots.
    running: Option<(Epoch, [u8; 16])>,
    /// The other side's process; 0 before it has greeted.
    other: u128,
    stage: Stage,
    /// When the peer must have answered; `None`: this side's own world is to answer, or nobody.
    deadline: Option<Time>,
    /// Actions that the world has not fetched yet, oldest first.
    out: VecDeque<HandshakeAction>,
}

impl Handshake {
    /// Begins a handshake on a fresh link, by greeting the peer.
    #[must_use]
    pub fn new(now: Time, me: Hello) -> Handshake {
        let hello = Message::Hello(me.clone()).encode();
        let mut handshake = Handshake {
            me,
            running: None,
            other: 0,
            stage: Stage::Hello,
            deadline: Some(now.after(limits::HANDSHAKE_ANSWER)),
            out: VecDeque::from([HandshakeAction::Send(hello)]),
        };
        if !timeout_is_sound(handshake.me.timeout) {
            handshake.fail(Failure::Timeout);
        }
        handshake
    }

    /// Begins a handshake by which the other side becomes an apprentice of the guest that runs here in
    /// `epoch`. The bulk link will show `token`.
    #[must_use]
    pub fn of_running(now: Time, me: Hello, epoch: Epoch, token: [u8; 16]) -> Handshake {
        Handshake {
            running: Some((epoch, token)),
            ..Handshake::new(now, me)
        }
    }

    /// Takes an event from the world. After the end of the handshake nothing follows from one.
    pub fn handle(&mut self, now: Time, event: HandshakeEvent) {
        if self.stage == Stage::Over {
            return;
        }
        let result = match event {
            HandshakeEvent::Peer(bytes) => match Message::decode(&bytes) {
                Ok(message) => self.on_message(now, message),
                Err(why) => Err(Failure::Garbage(why)),
            },
            HandshakeEvent::LinkLost => Err(Failure::LinkLost),
            HandshakeEvent::Fits { lacks } => self.on_fits(now, lacks),
            HandshakeEvent::Unfit(why) => Err(Failure::Unfit(why)),
            HandshakeEvent::Granted(epoch) => self.on_granted(now, epoch),
            HandshakeEvent::ArbiterUnreachable => Err(Failure::Arbiter),
            HandshakeEvent::Proven => self.on_proven(),
            HandshakeEvent::NotShared(why) => Err(Failure::NotShared(why)),
            HandshakeEvent::Built => self.on_built(),
            HandshakeEvent::BuildFailed(why) => Err(Failure::Build(why)),
        };
        if let Err(failure) = result {
            self.fail(failure);
        }
    }

    /// Ends a handshake whose peer has not answered in time. Call when [`Handshake::deadline`] has come.
    pub fn wake(&mut self, now: Time) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.fail(Failure::Silence);
        }
    }

    /// The next action, to be carried out before the next call. Call after each event until `None`.
    pub fn poll(&mut self) -> Option<HandshakeAction> {
        self.out.pop_front()
    }

    /// When the patience with the peer ends; `None`: the peer is not waited for.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    fn on_message(&mut self, now: Time, message: Message) -> Result<(), Failure> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        match (stage, message) {
            (_, Message::Refuse(why)) => return Err(Failure::Refused(why)),
            (_, Message::OtherProtocol(theirs)) => return Err(Failure::Protocol { theirs }),
            (Stage::Hello, Message::Hello(theirs)) => self.on_hello(now, &theirs)?,
            (Stage::Welcome { timeout }, Message::Welcome { lacks }) => {
                self.on_welcome(now, timeout, lacks)?;
            }
            (Stage::Start { timeout, header }, Message::Start(start)) => {
                self.on_start(timeout, &header, start)?;
            }
            (Stage::Ready(start), Message::Ready) => self.finish(start),
            _ => return Err(Failure::OutOfTurn),
        }
        Ok(())
    }

    fn on_hello(&mut self, now: Time, theirs: &Hello) -> Result<(), Failure> {
        let me = &self.me;
        if theirs.owner == me.owner {
            return Err(Failure::Myself);
        }
        if theirs.side == me.side {
            return Err(Failure::SameSide(me.side));
        }
        if !timeout_is_sound(theirs.timeout) {
            return Err(Failure::Timeout);
        }
        if me.side == Side::Backup && me.header.is_none() {
            let theirs = Box::new(theirs.clone());
            self.out.push_back(HandshakeAction::Consider(theirs.clone()));
            self.await_stage(Stage::Fit { theirs }, None);
            return Ok(());
        }
        if theirs.vm != me.vm && !(me.side == Side::Primary && theirs.header.is_none()) {
            let (theirs, ours) = (theirs.vm.clone(), me.vm.clone());
            return Err(Failure::Vm { theirs, ours });
        }
        match (&theirs.header, &me.header) {
            (Some(theirs), Some(ours)) => theirs.same_shape(ours)?,
            (None, _) if self.running.is_some() => {}
            _ => return Err(Failure::WaitsForRunning),
        }
        self.other = theirs.owner;
        let timeout = theirs.timeout.max(self.me.timeout);
        match (self.me.side, &self.me.header) {
            (Side::Backup, Some(header)) => {
                let header = header.clone();
                self.welcome(now, timeout, header, Vec::new());
            }
            _ => {
                let answer = Some(now.after(limits::HANDSHAKE_BUILD));
                self.await_stage(Stage::Welcome { timeout }, answer);
            }
        }
        Ok(())
    }

    fn on_fits(&mut self, now: Time, lacks: Vec<ImageId>) -> Result<(), Failure> {
        let Stage::Fit { theirs } = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Err(Failure::OutOfTurn);
        };
        let header = theirs.header.ok_or(Failure::OutOfTurn)?;
        self.other = theirs.owner;
        let timeout = theirs.timeout.max(self.me.timeout);
        self.welcome(now, timeout, header, lacks);
        Ok(())
    }

    /// Backup: consents, and waits for the primary's decision about a machine as `header` has it.
    fn welcome(&mut self, now: Time, timeout: Span, header: Header, lacks: Vec<ImageId>) {
        self.send(Message::Welcome { lacks });
        let patience = now.after(limits::HANDSHAKE_BUILD);
        self.await_stage(Stage::Start { timeout, header }, Some(patience));
    }

    fn on_welcome(&mut self, now: Time, timeout: Span, lacks: Vec<ImageId>) -> Result<(), Failure> {
        let Some((epoch, token)) = self.running else {
            if !lacks.is_empty() {
                return Err(Failure::OutOfTurn);
            }
            self.out.push_back(HandshakeAction::AskNext);
            self.await_stage(Stage::Epoch { timeout }, None);
            return Ok(());
        };
        let images = lacks;
        self.out.push_back(HandshakeAction::Supply { token, images });
        self.decide(now, timeout, epoch, How::Clone { token })
    }

    fn on_granted(&mut self, now: Time, epoch: Epoch) -> Result<(), Failure> {
        let Stage::Epoch { timeout } = self.stage else {
            return Err(Failure::OutOfTurn);
        };
        self.decide(now, timeout, epoch, How::Boot)
    }

    /// Primary: says what the pair is, and waits until the backup's machine is built.
    fn decide(&mut self, now: Time, timeout: Span, epoch: Epoch, how: How) -> Result<(), Failure> {
        let header = self.me.header.clone().ok_or(Failure::OutOfTurn)?;
        let start = Start {
            epoch,
            timeout,
            how,
            header,
        };
        self.send(Message::Start(start.clone()));
        if mutation::is(Mutation::BegunBeforeReady) && how == How::Boot {
            self.finish(start);
            return Ok(());
        }
        self.await_stage(Stage::Ready(start), Some(now.after(limits::HANDSHAKE_BUILD)));
        Ok(())
    }

    fn on_start(&mut self, timeout: Span, header: &Header, start: Start) -> Result<(), Failure> {
        // The greeting has been checked already, but the decision has a header of its own.
        start.header.same_shape(header)?;
        if self.me.header.is_none() && start.how == How::Boot {
            return Err(Failure::OutOfTurn);
        }
        if start.timeout != timeout {
            return Err(Failure::Timeout);
        }
        if start.epoch.0 > limits::EPOCH_MAX {
            return Err(Failure::OutOfTurn);
        }
        // The proof comes before the machine is built, since building may take long.
        self.out.push_back(HandshakeAction::Prove {
            epoch: start.epoch,
            owner: self.other,
        });
        self.await_stage(Stage::Proof(start), None);
        if mutation::is(Mutation::BuiltUnproven) {
            self.out.clear();
            return self.on_proven();
        }
        Ok(())
    }

    fn on_proven(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Proof(start) => {
                self.out.push_back(HandshakeAction::Build(start.clone()));
                self.await_stage(Stage::Build(start), None);
                Ok(())
            }
            _ => Err(Failure::OutOfTurn),
        }
    }

    fn on_built(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Build(start) => {
                self.send(Message::Ready);
                self.finish(start);
                Ok(())
            }
            _ => Err(Failure::OutOfTurn),
        }
    }

    fn finish(&mut self, start: Start) {
        let (primary, backup) = match self.me.side {
            Side::Primary => (self.me.owner, self.other),
            Side::Backup => (self.other, self.me.owner),
        };
        self.out.push_back(HandshakeAction::Done {
            start,
            primary,
            backup,
        });
        self.await_stage(Stage::Over, None);
    }

    fn fail(&mut self, failure: Failure) {
        // The other side learns the reason, unless it has given it or cannot be told.
        match &failure {
            Failure::Refused(_) | Failure::LinkLost | Failure::Silence => {}
            _ => self.send(Message::Refuse(failure.to_string())),
        }
        self.out.push_back(HandshakeAction::Failed(failure));
        self.await_stage(Stage::Over, None);
    }

    fn await_stage(&mut self, stage: Stage, deadline: Option<Time>) {
        self.stage = stage;
        self.deadline = deadline;
    }

    fn send(&mut self, message: Message) {
        self.out.push_back(HandshakeAction::Send(message.encode()));
    }
}

fn timeout_is_sound(timeout: Span) -> bool {
    limits::TIMEOUT_MIN <= timeout && timeout <= limits::TIMEOUT_MAX
}
