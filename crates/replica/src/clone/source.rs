//! `Source`: the owner's side of a clone. A process becomes this VM's backup while the guest runs (FT 3.1-a):
//! it is greeted, gets the pages of memory in rounds, then the state at one step, the cut, and the log from
//! there on. Once it follows closely enough, the log says that it is a member (docs/protocol.md, "Joining").
//!
//! Whoever runs the guest has at most one source, tells it of every event and every slice, and gives it the
//! frames of the log. A source never holds an output and never changes the guest; the cut takes a moment in
//! which the guest does not run, and a full pool of kept pages makes it wait.

use machine::{Batch, Copied};

use crate::clone::catch_up::CatchUp;
use crate::event::{Action, Bulk, Checked, Epoch, Event, Joined, News, PeerId, Phase, Suspicion};
use crate::guest::Guest;
use crate::guest::framing::Log;
use crate::log::codec::Frame;
use crate::log::entry::Mark;
use crate::metrics::CloneFigures;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::peer::follower::Follower;
use crate::peer::handshake::{Handshake, HandshakeAction, HandshakeEvent};
use crate::peer::joining::CutAt;
use crate::peer::message::Message;
use crate::roles::call::{Call, earliest, send};
use crate::time::Time;
use crate::{limits, mutation};

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
    /// Pages as they were at the cut are copied.
    Sealing,
    /// It has all. `catch_up`: how fast the guest may run; `None`: it has not said yet that it follows.
    Following { catch_up: Option<CatchUp> },
}

/// Where the question to the arbiter stands, whether the epoch is still this process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// It is to be asked, but not before this time.
    Later(Time),
    /// It was asked at this time.
    Asked(Time),
    /// The epoch is this process's.
    Yours,
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
    /// The apprentice's process; 0 before it has greeted.
    member: u128,
    stage: Stage,
    /// When the present stage began.
    since: Time,
    /// Does the apprentice get images of the VM from this side?
    supplies_images: bool,
    /// Bytes that the bulk link takes now.
    room: u64,
    /// Since when something waits for room on the bulk link; `None`: nothing does.
    blocked: Option<Time>,
    /// Bytes a second over the bulk link, if that is known.
    rate: Option<u64>,
    /// Since when frames of the log wait because the apprentice has no room for them; `None`: none do.
    crowded: Option<Time>,
    /// When the guest was cut, until the next call of the node shows how long that took.
    cut_at: Option<Time>,
    /// Is the next digest of the log to be taken as soon as it costs no pause?
    wants_digest: bool,
    /// Digests since the cut that the apprentice has found equal.
    digests: u64,
    /// How many outputs of the guest's life have left; every message says so.
    released: u64,
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
            member: 0,
            stage: Stage::Greeting(Box::new(handshake)),
            since: call.now,
            supplies_images: false,
            room: 0,
            blocked: None,
            rate: None,
            crowded: None,
            cut_at: None,
            wants_digest: false,
            digests: 0,
            released: 0,
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
            Event::BulkRoom { peer, bytes, rate } if *peer == self.peer() => {
                self.room = *bytes;
                self.rate = rate.or(self.rate);
                if self.room > 0 {
                    self.blocked = None;
                }
                Ok(())
            }
            Event::Checked(_, answer) if matches!(self.question, Question::Asked(_)) => match answer {
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
                    self.member = backup;
                    self.follower.detector.on_message(call.now);
                    self.enter(call, Stage::Rounds { owed: None }, Phase::Copying);
                }
                HandshakeAction::Failed(failure) => return Err(End::Abandoned(failure.to_string())),
                // Only a side that boots asks the arbiter here, and only a backup proves, considers and builds.
                HandshakeAction::AskNext { .. }
                | HandshakeAction::Prove { .. }
                | HandshakeAction::Consider(_)
                | HandshakeAction::Build(_) => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, call: &mut Call<'_>, stage: Stage, phase: Phase) {
        self.stage = stage;
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
        matches!(self.stage, Stage::Sealing | Stage::Following { .. })
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
        matches!(self.stage, Stage::Sealing) && guest.frozen_room() < limits::FROZEN_RESERVE
    }

    /// Are pages copied now?
    fn copies(&self) -> bool {
        matches!(self.stage, Stage::Rounds { .. } | Stage::Sealing)
    }

    /// Until when the guest must rest, so that the apprentice catches up; `None`: it may run.
    #[must_use]
    pub fn rest(&self) -> Option<Time> {
        match &self.stage {
            Stage::Following { catch_up } => catch_up.as_ref().and_then(CatchUp::rest),
            _ => None,
        }
    }

    /// Notes that a slice of the guest begins now.
    pub fn on_slice(&mut self, now: Time) {
        if let Stage::Following {
            catch_up: Some(catch_up),
        } = &mut self.stage
        {
            catch_up.on_slice(now);
        }
    }

    /// Does the apprentice follow so closely that the next entry may make it a member? `settled`: every output
    /// of before the cut has left.
    #[must_use]
    pub fn is_ready(&self, settled: bool) -> bool {
        if mutation::is(Mutation::GuardAtSealed) && matches!(self.stage, Stage::Following { .. }) {
            return true;
        }
        self.is_close() && settled && self.question == Question::Yours
    }

    /// Does it follow closely enough, whatever the arbiter says?
    fn is_close(&self) -> bool {
        matches!(self.stage, Stage::Following { catch_up: Some(_) })
            && self.digests >= limits::DIGESTS_ARM
            && self.follower.pace.lag() <= limits::LAG_ARM
    }

    /// The entry that makes the apprentice a member of `epoch`, which `owner` has.
    #[must_use]
    pub fn mark(&self, epoch: Epoch, owner: u128) -> Mark {
        Mark::Guarded {
            epoch,
            owner,
            member: self.member,
        }
    }

    /// The member that the apprentice has become, and the figures of how.
    #[must_use]
    pub fn into_member(mut self, now: Time) -> (Follower, CloneFigures) {
        self.follower.become_member(now);
        self.figures.took = now.since(self.figures.began);
        (self.follower, self.figures)
    }

    /// The figures of the clone so far.
    #[must_use]
    pub fn figures(&self) -> CloneFigures {
        self.figures
    }
}

/// What is done before and after each slice.
impl Source {
    /// Does what is due before a slice: copies pages, cuts, hashes. `waits`: the guest has nothing to run.
    /// `log` is that of the guest. At the cut nothing in it may wait for a flush.
    ///
    /// # Errors
    /// The clone comes to its end.
    pub fn before_slice<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        log: &mut Log,
        owner: &Owner,
    ) -> Result<(), End> {
        let now = call.now;
        self.follower.detector.look(now);
        if let Some(at) = self.cut_at.take() {
            self.figures.cut = now.since(at);
        }
        self.released = owner.released;
        self.check_patience(now)?;
        let budget = if owner.waits || self.holds(guest) {
            limits::COPY_PAGES_IDLE
        } else {
            limits::COPY_PAGES
        };
        match &mut self.stage {
            Stage::Greeting(handshake) => {
                handshake.wake(now);
                self.shake_hands(call)?;
            }
            Stage::Rounds { owed } => {
                if owed.is_none() {
                    *owed = Some(guest.begin_round());
                    self.figures.rounds = 1;
                }
                if self.copy(call, guest, budget)? == Copied::Over {
                    self.on_round_over(now, guest);
                }
            }
            Stage::Cutting(until) => {
                if *until <= now || owner.disk_bytes <= limits::CUT_DISK_BYTES {
                    self.cut(call, guest, log, owner)?;
                }
            }
            Stage::Sealing => {
                if self.copy(call, guest, budget)? == Copied::Over {
                    call.out.push_back(Action::Bulk(self.peer(), Bulk::Sealed));
                    self.wants_digest = true;
                    self.enter(call, Stage::Following { catch_up: None }, Phase::CatchingUp);
                }
            }
            Stage::Following { .. } => self.follow(call, owner)?,
        }
        self.figures.owed = guest.owed();
        call.metrics.clone = Some(self.figures);
        Ok(())
    }

    /// Ends a clone that waits too long for the other side.
    fn check_patience(&mut self, now: Time) -> Result<(), End> {
        if self.greeting_until().is_some_and(|until| until <= now) {
            return Err(abandoned("it does not answer"));
        }
        if let Some(why) = self.follower.detector.suspects(now)
            && !matches!(self.stage, Stage::Greeting(_))
        {
            return Err(abandoned(match why {
                Suspicion::LinkSilence => "nothing comes over its link",
                _ => "it does not answer",
            }));
        }
        if self
            .blocked
            .is_some_and(|since| now.since(since) >= limits::BULK_PATIENCE)
        {
            return Err(abandoned("the bulk link to it takes nothing"));
        }
        if self.follower.sender.is_full() {
            return Err(abandoned("the guest logs more than may wait for it"));
        }
        if !self.follower.sender.is_unsent() {
            self.crowded = None;
        } else if now.since(*self.crowded.get_or_insert(now)) >= limits::LOG_PATIENCE {
            return Err(abandoned("the guest logs faster than it takes the log"));
        }
        if let Stage::Following { catch_up: None } = self.stage
            && now.since(self.since) >= limits::FOLLOWING_PATIENCE
        {
            return Err(abandoned("it has the whole state and does not follow"));
        }
        Ok(())
    }

    /// When the patience with an apprentice ends that is greeted and lacks no image: it has little to do, and
    /// as long as it is waited for nobody else can become the backup. `None`: it is not greeted any more, or
    /// has much to load.
    fn greeting_until(&self) -> Option<Time> {
        let waits = matches!(self.stage, Stage::Greeting(_)) && !self.supplies_images;
        waits.then(|| self.since.after(limits::GREETING_PATIENCE))
    }

    /// Copies owed pages to the bulk link, as many as it has room for.
    fn copy<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, budget: u32) -> Result<Copied, End> {
        let fit = u32::try_from(self.room / G::PAGE as u64).unwrap_or(u32::MAX);
        let max = budget.min(fit);
        if max == 0 {
            self.blocked.get_or_insert(call.now);
            return Ok(Copied::More);
        }
        let mut batch = Batch::new(G::PAGE);
        let copied = guest.copy_owed(&mut batch, max);
        if copied == Copied::Overflowed {
            return Err(abandoned(
                "the guest has overwritten more than may be kept for it",
            ));
        }
        if !batch.is_empty() {
            let bytes = batch.content().len() as u64;
            self.room = self.room.saturating_sub(bytes);
            self.figures.pages += batch.len() as u64;
            self.figures.bytes += bytes;
            call.out.push_back(Action::Bulk(self.peer(), Bulk::Pages(batch)));
        }
        Ok(copied)
    }

    /// A round is over: another one, or the cut.
    fn on_round_over<G: Guest>(&mut self, now: Time, guest: &mut G) {
        let Stage::Rounds { owed: Some(before) } = self.stage else {
            return;
        };
        let owed = guest.begin_round();
        let bytes = u64::from(owed) * G::PAGE as u64;
        let soon = self
            .rate
            .is_some_and(|rate| bytes <= rate.saturating_mul(limits::CUT_OWED.0) / 1_000_000_000);
        let shrinks = u64::from(owed) * 1000 <= u64::from(before) * limits::ROUND_SHRINKS_PERMILLE;
        let sent_twice = self.figures.pages >= 2 * u64::from(guest.pages());
        if soon || !shrinks || sent_twice || self.figures.rounds >= limits::ROUNDS_MAX {
            self.stage = Stage::Cutting(now.after(limits::CUT_PATIENCE));
        } else {
            self.stage = Stage::Rounds { owed: Some(owed) };
            self.figures.rounds += 1;
        }
    }

    /// The cut: from this step on the apprentice has the log, and what it does not have of the state is kept.
    fn cut<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        log: &mut Log,
        owner: &Owner,
    ) -> Result<(), End> {
        let room = u32::try_from(limits::FROZEN_BYTES_MAX / G::PAGE).unwrap_or(u32::MAX);
        let room = room.max(2 * limits::FROZEN_RESERVE);
        let state = guest.freeze(room).map_err(End::Abandoned)?;
        log.begin(guest.now());
        let cut = CutAt {
            base: log.base(),
            outputs: owner.outputs,
            released: owner.released,
            entropy: guest.pending_entropy(),
        };
        // What the channel says of entries counts from here.
        self.follower.sender.begin(cut.base.seq);
        send(call, self.peer(), Message::Cut(cut));
        let bytes = state.len() as u64;
        self.figures.state_bytes = bytes;
        self.room = self.room.saturating_sub(bytes);
        call.out.push_back(Action::Bulk(self.peer(), Bulk::State(state)));
        self.cut_at = Some(call.now);
        self.enter(call, Stage::Sealing, Phase::Sealing);
        Ok(())
    }

    /// Looks how closely the apprentice follows, and asks the arbiter once that is close enough.
    fn follow(&mut self, call: &mut Call<'_>, owner: &Owner) -> Result<(), End> {
        let (now, lag) = (call.now, self.follower.pace.lag_steps());
        if let Stage::Following {
            catch_up: Some(catch_up),
        } = &mut self.stage
        {
            catch_up.look(now);
            catch_up.on_lag(now, lag);
            self.figures.permille = catch_up.permille();
            if catch_up.is_hopeless(now) {
                return Err(abandoned("it replays too slowly to catch up with this guest"));
            }
        }
        if !self.is_close() {
            return Ok(());
        }
        self.tell(call, Phase::Arming);
        let ask = match self.question {
            Question::Later(time) => time <= now,
            Question::Asked(since) => now.since(since) >= limits::CHECK_ANSWER,
            Question::Yours => false,
        };
        if ask {
            self.question = Question::Asked(now);
            call.out.push_back(Action::Check(owner.epoch, owner.process));
        }
        Ok(())
    }

    /// Is a digest to be taken in the log now? `guest` hashes ahead until that costs no pause. True once.
    pub fn takes_digest<G: Guest>(&mut self, guest: &mut G) -> bool {
        if !self.wants_digest {
            return false;
        }
        let ahead = guest.hash_some(limits::HASH_PAGES);
        if !ahead.is_over && u64::from(ahead.left) > limits::DIGEST_PAGES {
            return false;
        }
        self.wants_digest = false;
        self.figures.digests += 1;
        true
    }

    /// Sends the frames for which the apprentice has room, and the signs of life that are due.
    pub fn after_slice(&mut self, call: &mut Call<'_>) {
        if matches!(self.stage, Stage::Greeting(_)) {
            return;
        }
        let released = self.released;
        let sent = self.follower.send_frames(call, released);
        if !sent && self.follower.wants_keepalive(call.now) {
            self.follower.send_keepalive(call, released);
        }
        self.follower.beat(call);
    }

    /// When there is something to do for the clone, whatever the guest does; `None`: when an event comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let work = match &self.stage {
            Stage::Greeting(handshake) => return earliest([handshake.deadline(), self.greeting_until()]),
            Stage::Rounds { .. } | Stage::Sealing if self.blocked.is_none() => Some(Time(0)),
            Stage::Rounds { .. } | Stage::Sealing => {
                self.blocked.map(|since| since.after(limits::BULK_PATIENCE))
            }
            Stage::Cutting(_) => Some(Time(0)),
            Stage::Following { catch_up: None } => Some(self.since.after(limits::FOLLOWING_PATIENCE)),
            Stage::Following { catch_up: Some(_) } => match self.question {
                Question::Later(time) if self.is_close() => Some(time),
                Question::Asked(since) => Some(since.after(limits::CHECK_ANSWER)),
                Question::Yours if self.is_close() => Some(Time(0)),
                Question::Later(_) | Question::Yours => None,
            },
        };
        let digest = self.wants_digest.then_some(Time(0));
        let cut = self.cut_at.map(|_| Time(0));
        earliest([work, digest, cut, Some(self.follower.deadline())])
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
    /// Does the guest wait for an input or the time?
    pub waits: bool,
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
