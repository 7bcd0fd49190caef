//! A whole life of a world: first anything may go wrong, then the world is healed and must recover, then the
//! accounts are checked.
//!
//! The command line, sweeps, broken variants and tests all live worlds through this file. Nothing may be
//! demanded of a world whose guest is lost (all processes dead, or the one that the arbiter chose); only
//! safety counts there.

use replica::{Epoch, Guest, Halt, HandshakeAction, Span, Time, limits};

use toy_outside::names::ProcessId;

use crate::{
    checker::{Check, Violation, disk, ensure, logfile, oracle},
    options::Options,
    process::{Life, Process},
    subject::{Subject, Watched},
    world::{Tracer, World},
};

/// A healed world has recovered after this time. The longest honest recovery is a backup that is too slow and
/// dropped after ten seconds, and then an arbiter whose answer got lost.
pub const RECOVERY: Span = Span::from_ms(40_000);
/// In a healed world a process that joins the guest has shaken hands and has the whole state after this time,
/// and has become a member this long after it has caught up.
pub const COPYING: Span = Span::from_ms(60_000);
/// In a healed world a clone has made a member or come to nothing after this time. Clocks are slower by a
/// hundredth at most, which [`COPYING`] has room for.
pub const CLONING: Span = Span(COPYING.0 + limits::CATCH_UP_LONGEST.0);
/// In a healed world a pair is formed after this time. The longest honest wait is that of a primary for the
/// machine of a backup whose host has died without a word, and then once more for a clock that is slow.
pub const FORMING: Span = Span(limits::HANDSHAKE_BUILD.0 + RECOVERY.0);
/// How long a healed world that must not go on is watched.
const AFTERMATH: Span = Span::from_ms(3_000);

/// How a world ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// The time at which the world ended.
    pub ended: Time,
    /// How many things happened.
    pub events: u64,
    /// How many requests of the client were answered.
    pub replies: u64,
    /// How many outputs were seen, without repetitions.
    pub outputs: u64,
    /// How many outputs were seen more than once.
    pub repeated: u64,
    /// The process that went live last after a claim; `None`: none did.
    pub live: Option<ProcessId>,
    /// How often a process went live after a claim.
    pub failovers: u64,
    /// How many processes were started to join the guest while it ran.
    pub clones: u64,
    /// How many of them the log made members.
    pub guarded: u64,
    /// How often two processes changed their roles.
    pub hand_overs: u64,
    /// How often a backup was replaced by another one while the guest ran.
    pub replacements: u64,
    /// Did the guest survive, or end by its own will?
    pub survived: bool,
    /// By process: how many actions its node handed out.
    pub actions: Vec<u64>,
    /// By process: how many inputs and effects its guest had.
    pub entries: Vec<u64>,
    /// By process: how many actions its handshakes handed out before it was one half of a pair.
    pub words: Vec<u64>,
}

/// Lives the whole life of a world.
pub fn run<G: Subject>(options: Options, config: G::Config, tracer: Option<Tracer>) -> Outcome {
    let mut world = World::<G>::new(options, config, tracer);
    let survived = world.live();
    world.outcome(survived)
}

impl<G: Subject> World<G> {
    /// Has the world live from its beginning, or from where it is, to its end. True if the guest survived.
    pub fn live(&mut self) -> bool {
        self.run_until(Time(self.options.unsafe_for.0));
        self.heal();
        let survived = self.recover();
        self.follow();
        if survived && self.violation.is_none() {
            let result = self.settle_accounts();
            self.judge(result);
        }
        if self.violation.is_none() {
            let content = self.storage.content_after_power_cut();
            let result = self.checks.durability.check_content_after_power_cut(&content);
            self.judge(result);
        }
        survived
    }

    /// How the world ended.
    #[must_use]
    pub fn outcome(&self, survived: bool) -> Outcome {
        let processes = || self.processes.iter();
        Outcome {
            violation: self.violation.clone(),
            ended: self.now,
            events: self.events,
            replies: self.client.answered(),
            outputs: self.checks.outputs.seen().len() as u64,
            repeated: self.checks.outputs.repeated(),
            live: self.checks.single.live(),
            failovers: self.checks.single.failovers(),
            clones: self.keeper.clones,
            guarded: self.checks.guard.guarded(),
            hand_overs: self.keeper.hand_overs,
            replacements: self.keeper.replacements,
            survived,
            actions: processes().map(|process| process.actions).collect(),
            entries: processes()
                .map(|process| process.tape.borrow().own_len() as u64)
                .collect(),
            words: processes().map(|process| process.words).collect(),
        }
    }

    /// Is nobody left who could go on? Then all processes are dead, or the one that the arbiter chose is.
    pub(crate) fn is_doomed(&self) -> bool {
        let may_go_on = |who: ProcessId| {
            let process = self.process(who);
            let mut epoch = Epoch(process.epoch.0 + 1);
            // A member of the next epoch may go on by the one after that.
            while self.arbiter.heirs(who, epoch).contains(&process.owner) {
                epoch = Epoch(epoch.0 + 1);
            }
            let next = self.arbiter.owner(who, epoch);
            // It is about to have a node.
            let candidate = process.candidate.as_ref();
            if candidate
                .is_some_and(|candidate| matches!(candidate.in_hand, Some(HandshakeAction::Done { .. })))
            {
                return true;
            }
            // Without a node it has nothing to go on with.
            let lives = process.is_alive() && process.node.is_some();
            lives && next.is_none_or(|next| next == process.owner)
        };
        !self.is_forming() && !self.processes.names().any(may_go_on)
    }

    /// Is anybody there, or will somebody be started?
    pub(crate) fn is_anybody_alive(&self) -> bool {
        self.is_forming() || self.processes.iter().any(Process::is_alive)
    }

    /// Is the guest off, as far as the outside knows, or a process that has halted while nobody is left who
    /// could go on? Another backup may not have that entry yet: if it takes over, the guest is not off.
    pub(crate) fn is_off(&self) -> bool {
        let off = |process: &Process<G>| matches!(process.life, Life::Halted(Halt::Off(_)));
        self.checks.outputs.is_off() || self.is_doomed() && self.processes.iter().any(off)
    }

    /// Demands that the client gets its answers and that the guest ends as it is asked to. False: the guest
    /// is lost, and nothing can be demanded; or a rule was broken.
    fn recover(&mut self) -> bool {
        self.wait_for_pair();
        let goal = self.client.answered() + self.options.replies;
        let limit = self.now.after(RECOVERY);
        self.run_while(limit, |world| {
            world.client.answered() < goal && !world.is_doomed() && !world.is_off()
        });
        if self.violation.is_some() {
            return false;
        }
        if !self.is_off() && self.is_doomed() {
            // A process that is left must go on doing no harm; dead ones can do none.
            if self.is_anybody_alive() {
                self.run_for(AFTERMATH);
            }
            return false;
        }
        if !self.is_off() {
            let answered = self.client.answered();
            self.judge(ensure(answered >= goal, Check::Liveness, || {
                format!(
                    "the client has {answered} of {goal} answers {} ms after the world was healed",
                    RECOVERY.0 / 1_000_000
                )
            }));
            if self.site.is_some() {
                self.wait_for_agents();
            } else if self.options.keeper.is_some() {
                self.wait_for_protection();
            }
            if self.options.power_off {
                self.client.leave();
            } else {
                self.client.stop();
            }
        }
        if self.options.power_off || self.is_off() {
            self.wait_for_off()
        } else {
            self.wait_for_quiet()
        }
    }

    /// Demands that the first pair of the world is formed, or that one half of it has gone on alone.
    fn wait_for_pair(&mut self) {
        let limit = self.now.after(FORMING);
        let formed = self.run_while(limit, World::is_forming);
        self.judge(ensure(
            formed || self.violation.is_some(),
            Check::Liveness,
            || {
                format!(
                    "no pair is formed {} ms after the world was healed",
                    FORMING.0 / 1_000_000
                )
            },
        ));
    }

    /// Demands that each clone ends, and that a guest with a keeper is protected again if there is a host on
    /// which a backup can follow it.
    fn wait_for_protection(&mut self) {
        let (begin, clones) = (self.now, self.keeper.clones);
        let tries = self.tries_to_protect();
        // Where no host is fast enough, only the clones are looked at: one under way, and a whole one.
        let limit = begin.after(Span(CLONING.0 * tries.unwrap_or(2)));
        let waits = |world: &World<G>| {
            let ends = world.is_protected() || world.is_doomed() || world.is_off();
            !ends && world.has_shelter() && (tries.is_some() || world.keeper.clones < clones + 2)
        };
        let is_endless = |world: &World<G>| {
            let began = world.keeper.attempt.map(|attempt| attempt.began.max(begin));
            began.is_some_and(|began| world.now.since(began) > CLONING)
        };
        self.run_while(limit, |world| waits(world) && !is_endless(world));
        if self.violation.is_some() || !waits(self) {
            return;
        }
        self.judge(ensure(!is_endless(self), Check::Liveness, || {
            let ms = CLONING.0 / 1_000_000;
            format!("a clone has made no member and has not come to nothing after {ms} ms")
        }));
        self.judge(ensure(tries.is_none(), Check::Liveness, || {
            format!(
                "the guest is not protected {} ms after the client had its answers",
                self.now.since(begin).0 / 1_000_000
            )
        }));
    }

    fn wait_for_off(&mut self) -> bool {
        let limit = self.now.after(RECOVERY);
        // A process that waits for the word of an owner which has died has two minutes of patience, and one
        // that waits for a primary waits for ever.
        let is_there = |process: &Process<G>| process.is_alive() && process.node.is_some();
        self.run_while(limit, |world| world.processes.iter().any(is_there));
        for who in self.processes.names() {
            let (alive, role) = (is_there(self.process(who)), self.role(who));
            self.judge(ensure(!alive, Check::Liveness, || {
                format!("{who} is still there as {role:?} though the guest is to be off")
            }));
        }
        self.judge(ensure(self.is_off(), Check::Liveness, || {
            "the guest did not go off".to_owned()
        }));
        true
    }

    fn wait_for_quiet(&mut self) -> bool {
        self.run_for(Span::from_ms(300));
        let limit = self.now.after(RECOVERY);
        let quiet = self.run_while(limit, |world| {
            let process = world.process(world.survivor());
            let held = process.tape.borrow().shown.len() != world.checks.outputs.seen().len();
            let waits =
                |guest: &Watched<G>| !guest.pending_disk().is_empty() || !guest.pending_entropy().is_empty();
            held || process.node.as_ref().is_some_and(|node| waits(node.guest()))
        });
        self.judge(ensure(quiet || self.violation.is_some(), Check::Liveness, || {
            "an output is held, or a disk request or a wish for entropy pending, for ever".to_owned()
        }));
        true
    }

    /// The process on which the guest has lived to its end.
    pub(crate) fn survivor(&self) -> ProcessId {
        let owner = self.checks.single.owner();
        match self.process(owner).life {
            // A backup may learn from the log that the guest is off, and then need not go live.
            Life::Crashed | Life::Halted(Halt::Left) => {
                let epoch = self.process(owner).epoch;
                let is_backup = |who: &ProcessId| {
                    let process = self.process(*who);
                    let is_off = matches!(process.life, Life::Halted(Halt::Off(_)));
                    let is_dismissed = process.life == Life::Halted(Halt::Dismissed);
                    let may_know = (is_off || !process.joined) && !is_dismissed;
                    process.follows == Some(owner) && process.epoch == epoch && may_know
                };
                self.processes.names().filter(is_backup).last().unwrap_or(owner)
            }
            _ => owner,
        }
    }

    fn settle_accounts(&mut self) -> Result<(), Violation> {
        let process = self.process(self.survivor());
        let Some(node) = &process.node else {
            return Ok(());
        };
        let tape = process.tape.borrow();
        let guest = node.guest().inner();
        let seen = self.checks.outputs.seen();
        // The last output of a guest that is off is the news of that. Nobody needs to show it: the guest is
        // gone.
        let is_off = matches!(process.life, Life::Halted(Halt::Off(_)));
        let shown = oracle::run::<G>(&self.config, &tape, guest.now(), guest.fingerprint())?;
        oracle::compare(&shown, seen, is_off)?;
        // The file of a process that joined the guest would begin in the middle.
        if self.options.record && !process.joined {
            logfile::check::<G>(&self.config, &process.file, &shown, is_off)?;
        }
        let content = self.storage.content();
        self.checks.durability.check_content(&content)?;
        disk::check_history(&tape, &content)
    }
}
