//! What a source does before and after each slice of the guest: it copies pages, cuts, follows how closely
//! the apprentice replays, and sends the frames of the log.
//!
//! Whoever runs the guest calls this between its slices. Everything is done in pieces that fit between two
//! slices of a guest that has work; only the cut itself keeps the guest waiting. What the apprentice and the
//! arbiter say in between is taken in by `source`.

use machine::{Batch, Copied};

use super::{End, Owner, Question, Source, Stage, abandoned};
use crate::clone::standing::{Standing, frozen_room, share};
use crate::event::{Action, Bulk, Phase, Suspicion};
use crate::guest::Guest;
use crate::guest::framing::Log;
use crate::limits;
use crate::roles::call::{Call, earliest, send};
use messages::joining::CutAt;
use messages::message::Message;
use messages::time::Time;

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
        self.is_beside = owner.is_followed;
        self.check_patience(now)?;
        let holds = self.holds(guest);
        self.allowance.look(now, self.copy_rate());
        let budget = if holds {
            limits::COPY_PAGES_STANDING
        } else {
            self.allowance.pages()
        };
        match &mut self.stage {
            Stage::Greeting(handshake) => {
                handshake.wake(now);
                self.shake_hands(call)?;
            }
            Stage::Rounds { owed } => {
                if owed.is_none() {
                    let touched = guest.begin_round();
                    *owed = Some(touched);
                    self.figures.touched = touched;
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
            Stage::Sealing(standing) => {
                standing.look(now, holds, self.figures.pages * G::PAGE as u64);
                self.figures.stood = standing.whole();
                self.figures.permille = share(guest.frozen_room(), frozen_room::<G>());
                self.rest.look(now, self.figures.permille);
                if standing.is_too_long() {
                    return Err(abandoned(
                        "the guest has stood for too long because its pages leave too slowly",
                    ));
                }
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
            .is_some_and(|(since, _)| now.since(since) >= limits::BULK_PATIENCE)
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
        if self
            .owes_word
            .is_some_and(|since| now.since(since) >= limits::FOLLOWING_PATIENCE)
        {
            return Err(abandoned("it is close behind and does not say that it is well"));
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

    /// How many pages are copied in a millisecond.
    fn copy_rate(&self) -> u64 {
        match self.stage {
            Stage::Rounds { .. } if self.spare => limits::COPY_RATE_SPARE,
            Stage::Rounds { .. } => limits::COPY_RATE,
            _ => limits::COPY_RATE_SEALING,
        }
    }

    /// Copies owed pages to the bulk link, as many as it has room for.
    fn copy<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, budget: u32) -> Result<Copied, End> {
        let max = budget.min(u32::try_from(self.room / G::PAGE as u64).unwrap_or(u32::MAX));
        if max == 0 {
            if budget > 0 {
                self.blocked.get_or_insert((call.now, G::PAGE as u64));
            }
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
            self.allowance.take(batch.len() as u64, bytes / G::PAGE as u64);
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
        let state = guest.freeze(frozen_room::<G>()).map_err(End::Abandoned)?;
        self.figures.owed_at_cut = guest.owed();
        log.begin(guest.now());
        let cut = CutAt {
            base: log.base(),
            outputs: owner.outputs,
            released: owner.released,
            entropy: guest.pending_entropy(),
        };
        self.outputs_at_cut = cut.outputs;
        // What the channel says of entries counts from here.
        self.follower.sender.begin(cut.base.seq);
        send(call, self.peer(), Message::Cut(cut));
        let bytes = state.len() as u64;
        self.figures.state_bytes = bytes;
        self.room = self.room.saturating_sub(bytes);
        call.out.push_back(Action::Bulk(self.peer(), Bulk::State(state)));
        self.cut_at = Some(call.now);
        self.enter(call, Stage::Sealing(Standing::default()), Phase::Sealing);
        Ok(())
    }

    /// Looks how closely the apprentice follows, and asks the arbiter once that is close enough.
    fn follow(&mut self, call: &mut Call<'_>, owner: &Owner) -> Result<(), End> {
        let (now, lag, lags_little) = (call.now, self.follower.pace.lag_steps(), self.lags_little());
        if let Stage::Following {
            catch_up: Some(catch_up),
        } = &mut self.stage
        {
            self.rest.look(now, catch_up.permille());
            catch_up.on_lag(now, lag, lags_little);
            self.figures.permille = catch_up.permille();
            if catch_up.is_hopeless(now) {
                return Err(abandoned("it replays too slowly to catch up with this guest"));
            }
        }
        let is_digest_due = self.wants_digest || owner.hashes;
        let owes_word = lags_little && !is_digest_due && self.digests < limits::DIGESTS_ARM;
        self.owes_word = owes_word.then(|| self.owes_word.unwrap_or(now));
        if !self.is_close() {
            return Ok(());
        }
        self.tell(call, Phase::Arming);
        let ask = match self.question {
            Question::Later(time) => time <= now,
            Question::Asked(since, _) => now.since(since) >= limits::CHECK_ANSWER,
            Question::Yours => false,
        };
        if ask {
            self.question = Question::Asked(now, owner.epoch);
            call.out.push_back(Action::Check(owner.epoch, owner.process));
        }
        Ok(())
    }

    /// Is a digest to be taken in the log now? Asked while none has begun that has not ended. True once.
    pub fn takes_digest(&mut self) -> bool {
        let takes = std::mem::take(&mut self.wants_digest);
        self.figures.digests += u64::from(takes);
        takes
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

    /// When the next sign of life is due.
    #[must_use]
    pub fn beat_due(&self) -> Time {
        self.follower.deadline()
    }

    /// When there is something to do for the clone, whatever the guest does; `None`: when an event comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let work = match &self.stage {
            Stage::Greeting(handshake) => return earliest([handshake.deadline(), self.greeting_until()]),
            Stage::Rounds { .. } | Stage::Sealing(_) if self.blocked.is_some() => {
                self.blocked.map(|(since, _)| since.after(limits::BULK_PATIENCE))
            }
            Stage::Rounds { owed: None } => Some(Time(0)),
            Stage::Sealing(standing) if standing.stands() => Some(Time(0)),
            Stage::Rounds { .. } | Stage::Sealing(_) => Some(self.allowance.due(self.copy_rate())),
            Stage::Cutting(_) => Some(Time(0)),
            Stage::Following { catch_up: None } => Some(self.since.after(limits::FOLLOWING_PATIENCE)),
            Stage::Following { catch_up: Some(_) } => match self.question {
                // It is asked only while the apprentice is close behind: until then nothing is due.
                _ if !self.is_close() => None,
                Question::Later(time) => Some(time),
                Question::Asked(since, _) => Some(since.after(limits::CHECK_ANSWER)),
                Question::Yours => Some(Time(0)),
            },
        };
        let digest = self.wants_digest.then_some(Time(0));
        let cut = self.cut_at.map(|_| Time(0));
        earliest([work, digest, cut, Some(self.follower.deadline())])
    }
}
