//! `Source`: the owner's side of a clone. A process becomes this VM's backup while the guest runs (FT 3.1-a):
//! it is greeted, gets the pages of memory in rounds, then the state at one step, the cut, and the log from
//! there on. Once it follows closely enough, the log says that it is a member (docs/protocol.md, "Joining").
//!
//! Here is what the other side and the arbiter say; `source/slices` has what is done in each slice of the
//! guest. Whoever runs the guest has at most one source, tells it of every event and every slice, and gives
//! it the frames of the log. A source never holds an output and never changes the guest; the cut takes a
//! moment in which the guest does not run, and a full pool of kept pages makes it wait.

use crate::clone::allowance::Allowance;
use crate::clone::catch_up::CatchUp;
use crate::clone::standing::Standing;
use crate::event::{Action, Checked, Epoch, Event, Joined, News, PeerId, Phase};
use crate::guest::Guest;
use crate::metrics::CloneFigures;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::peer::follower::Follower;
use crate::peer::handshake::{Handshake, HandshakeAction, HandshakeEvent};
use crate::peer::rest::Rest;
use crate::roles::call::{Call, send};
use crate::{limits, mutation};
use messages::message::Message;
use messages::time::Time;
use vmlog::codec::Frame;
use vmlog::entry::{Mark, Seq};

mod slices;

/// What is done for the apprentice at present.
#[derive(Debug)]
enum Stage {
    /// It is greeted, and builds a machine without a state.
    Greeting(Box<Handshake>),
    /// Pages are copied while the guest runs. `owed`: how many were, when this round began; `None`: no round
    /// has begun.
    Rounds { owed: Option<u32> },
    /// The cut comes as soon as few disk requests are under way, and no later than at this time.
    Cutting(Time),
    /// Pages as they were at the cut are copied, and the guest stands while too many are kept.
    Sealing(Standing),
    /// It has all. `catch_up`: how fast the guest may run; `None`: it has not said yet that it follows.
    Following { catch_up: Option<CatchUp> },
}

/// Where the question to the arbiter stands, whether the epoch is still this process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// It is to be asked, but not before this time.
    Later(Time),
    /// It was asked at this time, of this epoch.
    Asked(Time, Epoch),
    /// The epoch is this process's.
    Yours,
}

impl Question {
    /// Was it asked of this epoch, and not answered?
    fn is_about(self, epoch: Epoch) -> bool {
        matches!(self, Question::Asked(_, asked) if asked == epoch)
    }
}

/// How a clone ends without a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It comes to nothing; the sentence says why.
    Abandoned(String),
    /// Somebody has claimed a later epoch: this owner must show nothing more.
    Superseded,
}

/// A clone under way.
#[derive(Debug)]
pub struct Source {
    /// The apprentice, as this side sees it.
    follower: Follower,
    stage: Stage,
    /// When the present stage began.
    since: Time,
    /// Does the apprentice get images of the VM from this side?
    supplies_images: bool,
    /// Bytes that the bulk link takes now.
    room: u64,
    /// How many pages may be copied now.
    allowance: Allowance,
    /// Has this host processors to spare?
    spare: bool,
    /// Since when a page waits for room on the bulk link, and how much it needs; `None`: none does. Less room
    /// than that ends no waiting: a link that takes a few bytes now and then takes nothing.
    blocked: Option<(Time, u64)>,
    /// Bytes a second over the bulk link, if that is known.
    rate: Option<u64>,
    /// Since when frames of the log wait because the apprentice has no room for them; `None`: none do.
    crowded: Option<Time>,
    /// How long the guest rests after each slice.
    rest: Rest,
    /// When the guest was cut, until the next call of the node shows how long that took.
    cut_at: Option<Time>,
    /// Is the next digest of the log to be taken as soon as none has begun that has not ended?
    wants_digest: bool,
    /// Digests since the cut that the apprentice has found equal.
    digests: u64,
    /// Since when it is close behind and owes the word that a digest was equal; `None`: it owes none.
    owes_word: Option<Time>,
    /// How many outputs of the guest's life have left; every message says so.
    released: u64,
    /// How many outputs of the guest's life there were at the cut; 0 before it.
    outputs_at_cut: u64,
    /// Has the guest a backup besides? Then the figures of the log are that one's.
    is_beside: bool,
    question: Question,
    figures: CloneFigures,
}

impl Source {
    /// Greets the process at the other end of a fresh link.
    pub fn new(call: &mut Call<'_>, joined: Joined, options: &PairOptions) -> Source {
        let Joined { peer, mut me, token } = joined;
        // The pair has the longer timeout of both sides. This side's must be the one by which its node counts
        // the lease, which may be longer than the configured one after an earlier pair: else the lease would
        // outlast the promise in an acknowledgement.
        me.timeout = options.timeout;
        call.out
            .push_back(Action::Tell(News::Cloning(peer, Phase::Connecting)));
        let handshake = Handshake::of_running(call.now, me, options.epoch, token);
        let mut source = Source {
            follower: Follower::apprentice(call.now, peer, options),
            stage: Stage::Greeting(Box::new(handshake)),
            since: call.now,
            supplies_images: false,
            room: 0,
            allowance: Allowance::new(call.now),
            spare: false,
            blocked: None,
            rate: None,
            crowded: None,
            rest: Rest::default(),
            cut_at: None,
            wants_digest: false,
            digests: 0,
            owes_word: None,
            released: 0,
            outputs_at_cut: 0,
            is_beside: false,
            question: Question::Later(call.now),
            figures: CloneFigures {
                began: call.now,
                ..CloneFigures::default()
            },
        };
        // A handshake that has just begun has greeted, and cannot have failed on the other side's account.
        let _ = source.shake_hands(call);
        source
    }

    /// The link to the apprentice.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.follower.id
    }

    /// Takes an event from the world that concerns the clone.
    ///
    /// # Errors
    /// The clone comes to its end.
    pub fn handle(&mut self, call: &mut Call<'_>, event: &Event, step: machine::Step) -> Result<(), End> {
        self.follower.detector.look(call.now);
        match event {
            Event::Peer(peer, bytes) if *peer == self.peer() => self.on_peer(call, bytes, step),
            Event::LinkLost(peer) if *peer == self.peer() => Err(abandoned("the link to it broke")),
            Event::Heartbeat(peer, bytes) if *peer == self.peer() => {
                self.follower.on_heartbeat(call.now, bytes);
                Ok(())
            }
            Event::BulkRoom {
                peer,
                bytes,
                rate,
                spare,
            } if *peer == self.peer() => {
                self.room = *bytes;
                self.spare = *spare;
                self.rate = rate.or(self.rate);
                self.blocked = self.blocked.filter(|&(_, needs)| self.room < needs);
                Ok(())
            }
            // An answer about an earlier epoch belongs to a question of an earlier clone.
            Event::Checked(epoch, answer) if self.question.is_about(*epoch) => match answer {
                Checked::Yours => {
                    self.question = Question::Yours;
                    Ok(())
                }
                Checked::Superseded => Err(End::Superseded),
                Checked::Unreachable => {
                    self.question = Question::Later(call.now.after(limits::CHECK_RETRY));
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    fn on_peer(&mut self, call: &mut Call<'_>, bytes: &[u8], step: machine::Step) -> Result<(), End> {
        if let Stage::Greeting(handshake) = &mut self.stage {
            self.follower.detector.on_message(call.now);
            handshake.handle(call.now, HandshakeEvent::Peer(bytes.to_vec()));
            return self.shake_hands(call);
        }
        match Message::decode(bytes) {
            Ok(Message::Ack(ack)) => {
                if self.follower.on_ack(call.now, &ack, step, call.metrics).is_err() {
                    return Err(abandoned("it acknowledged what was not sent"));
                }
                if !self.is_beside {
                    self.follower.measure(call.metrics);
                }
                self.follower.send_frames(call, self.released);
                Ok(())
            }
            Ok(Message::Following { digests }) => self.on_following(call, digests),
            Ok(Message::Diverged { at, part }) => Err(End::Abandoned(format!(
                "its execution parted from the log at step {at}, first in {part}"
            ))),
            Ok(Message::Abandon(why)) => Err(End::Abandoned(why)),
            _ => Err(abandoned("it sent what no apprentice sends")),
        }
    }

    fn on_following(&mut self, call: &mut Call<'_>, digests: u64) -> Result<(), End> {
        let lag = self.follower.pace.lag_steps();
        let Stage::Following { catch_up } = &mut self.stage else {
            return Err(abandoned("it follows before it has the whole state"));
        };
        if catch_up.is_none() {
            *catch_up = Some(CatchUp::new(call.now, lag));
            self.since = call.now;
            self.owes_word = None;
        }
        if digests > self.digests {
            self.owes_word = None;
        }
        self.digests = digests;
        self.wants_digest |= digests < limits::DIGESTS_ARM && digests >= self.figures.digests;
        Ok(())
    }

    /// Carries out what the handshake wants.
    fn shake_hands(&mut self, call: &mut Call<'_>) -> Result<(), End> {
        let peer = self.peer();
        while let Stage::Greeting(handshake) = &mut self.stage
            && let Some(action) = handshake.poll()
        {
            match action {
                HandshakeAction::Send(message) => call.out.push_back(Action::Send(peer, message)),
                HandshakeAction::Supply { token, images } => {
                    self.supplies_images = !images.is_empty();
                    call.out.push_back(Action::Supply { peer, token, images });
                }
                HandshakeAction::Done { backup, .. } => {
                    self.follower.process = backup;
                    self.follower.detector.on_message(call.now);
                    self.enter(call, Stage::Rounds { owed: None }, Phase::Copying);
                }
                HandshakeAction::Failed(failure) => return Err(End::Abandoned(failure.to_string())),
                // Only a side that boots asks the arbiter here, and only a backup proves, considers and
                // builds.
                HandshakeAction::AskNext
                | HandshakeAction::Prove { .. }
                | HandshakeAction::Consider(_)
                | HandshakeAction::Build(_) => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, call: &mut Call<'_>, stage: Stage, phase: Phase) {
        self.stage = stage;
        self.rest = Rest::default();
        self.since = call.now;
        self.tell(call, phase);
    }

    fn tell(&mut self, call: &mut Call<'_>, phase: Phase) {
        if self.figures.phase != phase {
            self.figures.phase = phase;
            call.out
                .push_back(Action::Tell(News::Cloning(self.peer(), phase)));
        }
    }

    /// Does the cut come in the next slice, unless disk requests put it off?
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        matches!(self.stage, Stage::Cutting(_))
    }

    /// Is the log sent to the apprentice? Then it is wanted, and [`Source::push`] must get every frame.
    #[must_use]
    pub fn takes_log(&self) -> bool {
        matches!(self.stage, Stage::Sealing(_) | Stage::Following { .. })
    }

    /// Queues a frame of the log for the apprentice.
    pub fn push(&mut self, frame: Frame) {
        self.follower.push(frame);
    }

    /// Must the guest stand, because there is hardly room left for pages as they were at the cut?
    #[must_use]
    pub fn holds<G: Guest>(&self, guest: &G) -> bool {
        if mutation::is(Mutation::StandsWhileCopied) && self.copies() {
            return true;
        }
        matches!(self.stage, Stage::Sealing(_)) && guest.frozen_room() < limits::FROZEN_RESERVE
    }

    /// Are pages copied now?
    fn copies(&self) -> bool {
        matches!(self.stage, Stage::Rounds { .. } | Stage::Sealing(_))
    }

    /// Until when the guest must rest, so that its pages leave or the apprentice catches up; `None`: it may
    /// run.
    #[must_use]
    pub fn rest(&self) -> Option<Time> {
        self.rest.until()
    }

    /// Notes that a slice of the guest begins now.
    pub fn on_slice(&mut self, now: Time) {
        self.rest.on_slice(now);
    }

    /// Does the apprentice follow so closely that the next entry may make it a member? `released`: how many
    /// outputs of the guest's life have left. All of before the cut must have: the apprentice would not show
    /// them.
    #[must_use]
    pub fn is_ready(&self, released: u64) -> bool {
        if mutation::is(Mutation::GuardAtSealed) && matches!(self.stage, Stage::Following { .. }) {
            return true;
        }
        let settled = released >= self.outputs_at_cut || mutation::is(Mutation::GuardedWithHeldOutputs);
        self.is_close() && settled && self.question == Question::Yours
    }

    /// The owner has won another epoch: the arbiter's answer about the one before is worth nothing.
    pub fn on_epoch(&mut self, now: Time) {
        self.question = Question::Later(now);
    }

    /// Does it follow closely enough, whatever the arbiter says?
    fn is_close(&self) -> bool {
        matches!(self.stage, Stage::Following { catch_up: Some(_) })
            && self.digests >= limits::DIGESTS_ARM
            && self.lags_little()
    }

    /// Is it so close behind that it may become a member?
    fn lags_little(&self) -> bool {
        self.follower.pace.lag() <= limits::LAG_ARM
    }

    /// The entry that makes the apprentice a member of `epoch`, which `owner` has.
    #[must_use]
    pub fn mark(&self, epoch: Epoch, owner: u128) -> Mark {
        Mark::Guarded {
            epoch,
            owner,
            member: self.follower.process,
        }
    }

    /// The member that the apprentice has become by the entry `guarded`, and the figures of how.
    #[must_use]
    pub fn into_member(mut self, now: Time, guarded: Seq) -> (Follower, CloneFigures) {
        self.follower.become_member(now, guarded);
        self.figures.took = now.since(self.figures.began);
        (self.follower, self.figures)
    }

    /// The figures of the clone so far.
    #[must_use]
    pub fn figures(&self) -> CloneFigures {
        self.figures
    }
}

/// What a source must know of the owner in each slice.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The present epoch.
    pub epoch: Epoch,
    /// This process, which has the epoch.
    pub process: u128,
    /// How many outputs the guest has produced in its life.
    pub outputs: u64,
    /// How many of them have left.
    pub released: u64,
    /// Bytes of the disk requests that are not done.
    pub disk_bytes: usize,
    /// Has the guest a backup besides?
    pub is_followed: bool,
    /// Has a digest begun in the log that has not ended?
    pub hashes: bool,
}

fn abandoned(why: &str) -> End {
    End::Abandoned(why.to_owned())
}

/// Tells the apprentice, and whoever looks after the VM, that a clone comes to nothing.
pub fn give_up(call: &mut Call<'_>, peer: PeerId, why: String) {
    send(call, peer, Message::Abandon(why.clone()));
    call.out.push_back(Action::Tell(News::Abandoned(peer, why)));
    call.out.push_back(Action::HangUp(peer));
}
