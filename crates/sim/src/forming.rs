//! How two processes become the first pair of a world: calls, handshakes, the epoch, the proof, the start.
//!
//! What decides is the product's: a `Handshake` on each side, and a `Caller` above the primary's. Here stands
//! what their actions mean in the world, each of which takes time and may go wrong, and the founder, who
//! starts a process in place of one that has ended or is of no use. As on a real host, a process that waits
//! for its arbiter, its disks or its machine looks at nothing else. Nothing here may decide which epoch is
//! asked for, or whether a primary calls again.

use replica::peer::message::Message;
use replica::{
    Answered, Caller, Claim, ClaimKind, Epoch, Event, Failure, Halt, Handshake, HandshakeAction,
    HandshakeEvent, Hello, MayOwn, PeerId, Side, Span, Start, Verdict, Wanted, limits,
};

use toy_outside::names::{HostId, ProcessId};

use crate::{
    checker::{Check, ensure},
    faults::{Fault, Trigger},
    founder::Candidate,
    process::{self, Life},
    schedule::What,
    subject::Subject,
    trace,
    world::World,
};

impl<G: Subject> World<G> {
    /// The first two processes are started, and the founder looks after them.
    pub(crate) fn found(&mut self, [one, other]: [HostId; 2]) {
        self.start_candidate(one, Side::Primary);
        self.start_candidate(other, Side::Backup);
        self.schedule(self.now, What::Founder);
    }

    /// Is the first pair of the world still to be formed?
    pub(crate) fn is_forming(&self) -> bool {
        self.checks.single.is_unformed()
    }

    fn start_candidate(&mut self, host: HostId, side: Side) {
        self.bring_back(host);
        let who = self.add(host, Epoch(0), None, false);
        self.trace(Some(who), || {
            format!("= starts on {host}, to be the {side} of a pair")
        });
        let patience = self.options.founder.as_ref().map(|founder| founder.patience);
        let process = &mut self.processes[who];
        process.candidate = Some(Candidate {
            caller: (side == Side::Primary).then(|| Caller::new(process.owner)),
            calls_until: self.now.after(patience.unwrap_or(Span(0))),
            called_in_vain: false,
            peer: PeerId(0),
            epoch: Epoch(0),
            is_busy: false,
            in_hand: None,
        });
        self.schedule(self.now, What::Ports(who));
        if side == Side::Primary {
            self.schedule(self.now, What::Call(who));
        }
    }

    /// The founder looks, starts whom the pair lacks, and looks again later.
    pub(crate) fn on_founder(&mut self) {
        let Some(founder) = self.options.founder.clone().filter(|_| self.is_forming()) else {
            return;
        };
        self.schedule(self.now.after(founder.every), What::Founder);
        if self.founded >= founder.starts && !self.healed {
            return;
        }
        let candidates = self
            .processes
            .iter()
            .filter_map(|process| process.candidate.as_ref());
        let primaries = candidates.filter(|candidate| candidate.caller.is_some());
        let in_vain: Vec<bool> = primaries.map(|primary| primary.called_in_vain).collect();
        let by_mistake = !self.healed && self.random.permille(founder.mistakes_permille);
        let [one, other] = self.options.homes;
        if in_vain.is_empty() || by_mistake {
            let host = self.random.pick(&[one, one, one, other]);
            self.start_candidate(host, Side::Primary);
        } else if in_vain.contains(&true) && self.listeners().is_empty() {
            let host = self.random.pick(&[one, other, other, other]);
            self.start_candidate(host, Side::Backup);
        } else {
            return;
        }
        self.founded += 1;
    }

    /// The processes that wait for a primary, and have none.
    fn listeners(&self) -> Vec<ProcessId> {
        let listens = |who: &ProcessId| {
            let process = self.process(*who);
            let candidate = process.candidate.as_ref();
            process.greeting.is_none() && candidate.is_some_and(|candidate| candidate.caller.is_none())
        };
        self.processes.names().filter(listens).collect()
    }

    /// A process that is to be a primary calls a backup. While the path to either is cut, none answers.
    pub(crate) fn on_call(&mut self, who: ProcessId) {
        if let Life::Stalled { until } = self.process(who).life {
            self.schedule(until, What::Call(who));
            return;
        }
        let process = self.process(who);
        if process.candidate.is_none() || process.greeting.is_some() {
            return;
        }
        let is_cut = |who: ProcessId| self.process(who).no_heartbeats > self.now;
        let mut listeners = self.listeners();
        listeners.retain(|other| !is_cut(*other) && !is_cut(who));
        if let Some(candidate) = &mut self.processes[who].candidate {
            candidate.called_in_vain = listeners.is_empty();
        }
        if listeners.is_empty() {
            self.call_again(who, "nobody answers");
            return;
        }
        let backup = self.random.pick(&listeners);
        self.trace(Some(who), || format!("= calls {backup}"));
        self.connect(who, backup);
        for (who, side) in [(who, Side::Primary), (backup, Side::Backup)] {
            let (timeout, now) = (self.options.timeout, self.now);
            let process = &mut self.processes[who];
            let last = process.wires.len() as u32 - 1;
            if let Some(candidate) = &mut process.candidate {
                candidate.peer = PeerId(last);
            }
            let me = Hello {
                vm: "sim".to_owned(),
                side,
                owner: process.owner,
                timeout,
                header: Some(process::header()),
                settings: String::new(),
            };
            process.greeting = Some(Handshake::new(process.clock.shows(now), me));
            self.turn_at(who, self.now);
        }
    }

    /// A primary has no link to a backup, for this reason, and calls again after a pause while it has
    /// patience.
    fn call_again(&mut self, who: ProcessId, why: &str) {
        let pause = self
            .options
            .founder
            .as_ref()
            .map_or(Span(0), |founder| founder.pause);
        let candidate = self.process(who).candidate.as_ref();
        if candidate.is_some_and(|candidate| candidate.calls_until < self.now) {
            self.end_candidate(who, why);
        } else {
            self.schedule(self.now.after(pause), What::Call(who));
        }
    }

    /// Does a process without a node look at what comes? One that is busy does not.
    pub(crate) fn looks_at_words(&self, who: ProcessId) -> bool {
        let process = self.process(who);
        let looks = match &process.candidate {
            Some(candidate) => !candidate.is_busy,
            None => process.greeting.is_some(),
        };
        process.is_running() && looks
    }

    /// Does this mean the present handshake of a process, and not a link of an earlier one?
    pub(crate) fn concerns_greeting(&self, who: ProcessId, event: &Event) -> bool {
        match (event, &self.process(who).candidate) {
            (Event::Peer(peer, _) | Event::LinkLost(peer), Some(candidate)) => candidate.peer == *peer,
            _ => true,
        }
    }

    /// Carries out what the handshake of a process wants that is to be one half of a pair.
    pub(crate) fn carry_words(&mut self, who: ProcessId) {
        loop {
            let process = &mut self.processes[who];
            let Some(candidate) = process
                .candidate
                .as_mut()
                .filter(|_| process.life == Life::Running)
            else {
                return;
            };
            if let Some(action) = candidate.in_hand.take() {
                self.carry_word(who, action);
                continue;
            }
            let Some(action) = process.greeting.as_mut().and_then(Handshake::poll) else {
                return;
            };
            process.words += 1;
            let number = process.words;
            match self.triggered(who, Trigger::Word(number)) {
                Some(Fault::Crash(_, death)) => self.crash(who, death),
                Some(Fault::Stall(_, span)) => {
                    self.trace(Some(who), || format!("! stands still, in its hand {action:?}"));
                    if let Some(candidate) = &mut self.processes[who].candidate {
                        candidate.in_hand = Some(action);
                    }
                    self.stall(who, span);
                }
                fault => {
                    self.carry_word(who, action);
                    if let Some(fault) = fault {
                        self.strike(&fault);
                    }
                }
            }
        }
    }

    fn carry_word(&mut self, who: ProcessId, action: HandshakeAction) {
        let Some(Candidate { peer, epoch, .. }) = self.process(who).candidate else {
            return;
        };
        self.trace(Some(who), || trace::word(&action));
        match action {
            HandshakeAction::Send(bytes) => {
                if let Some((_, primary)) = self.peer(who, peer)
                    && Message::decode(&bytes) == Ok(Message::Ready)
                {
                    // The primary may have called another backup since.
                    let is_late = self.arbiter.last().is_some_and(|(last, ..)| last > epoch);
                    self.checks.guard.on_boot(who, primary, is_late);
                }
                self.send(who, peer, bytes.to_vec());
            }
            HandshakeAction::AskNext => self.ask_for_pair(who),
            HandshakeAction::Prove { epoch, owner } => {
                let event = self.prove(who, epoch, owner);
                self.be_busy(who);
                self.is_done(who, event);
            }
            HandshakeAction::Build(start) => {
                if let Some(candidate) = &mut self.processes[who].candidate {
                    candidate.epoch = start.epoch;
                }
                self.be_busy(who);
                self.is_done(who, HandshakeEvent::Built);
            }
            HandshakeAction::Done {
                start,
                primary,
                backup,
            } => self.become_half(who, &start, (primary, backup)),
            HandshakeAction::Failed(failure) => self.on_failed(who, &failure),
            // Only whoever waits for a guest that runs considers, and only the owner of one supplies.
            HandshakeAction::Consider(_) | HandshakeAction::Supply { .. } => {}
        }
    }

    fn be_busy(&mut self, who: ProcessId) {
        if let Some(candidate) = &mut self.processes[who].candidate {
            candidate.is_busy = true;
        }
    }

    /// Does a process find the claim of this epoch at its arbiter, and the lock of the disk, by that owner?
    fn prove(&mut self, who: ProcessId, epoch: Epoch, owner: u128) -> HandshakeEvent {
        let fate = self.arbiter.ask(&mut self.random, self.now);
        if fate.takes.is_none() || fate.unreachable {
            HandshakeEvent::NotShared("the arbiter cannot be reached".to_owned())
        } else if self.arbiter.owner(who, epoch) != Some(owner) {
            HandshakeEvent::NotShared("the arbiter knows another owner".to_owned())
        } else if self.storage.writer() != epoch {
            HandshakeEvent::NotShared("the disk is locked for another epoch".to_owned())
        } else {
            HandshakeEvent::Proven
        }
    }

    fn ask_for_pair(&mut self, who: ProcessId) {
        self.be_busy(who);
        let caller = self.processes[who].candidate.as_mut();
        let Some(wanted) = caller
            .and_then(|candidate| candidate.caller.as_mut())
            .map(Caller::ask)
        else {
            return;
        };
        let fate = self.arbiter.ask(&mut self.random, self.now);
        if let Some(at) = fate.takes {
            let question = What::Wanted {
                who,
                wanted,
                answers: fate.answers,
                unreachable: fate.unreachable,
            };
            self.schedule(at, question);
        } else if let Some(at) = fate.answers {
            self.schedule(at, What::Answered(who, Answered::Unreachable));
        }
    }

    /// The question of a primary takes effect at the arbiter.
    pub(crate) fn on_wanted(
        &mut self,
        who: ProcessId,
        wanted: &Wanted,
        answers: Option<replica::Time>,
        unreachable: bool,
    ) {
        let claim = match wanted {
            Wanted::Exactly(claim) => Some(claim.clone()),
            Wanted::AfterLast => self.start_claim(who),
        };
        let answer = claim.map_or(Answered::Refused, |claim| {
            let is_new = self.arbiter.owner(who, claim.epoch).is_none();
            let verdict = self.arbiter.take(who, &claim);
            if is_new && verdict == Verdict::Won {
                // Whoever was a member of an earlier epoch of this owner cannot win this one any more.
                self.checks.guard.on_go_live(who, &[]);
            }
            match verdict {
                Verdict::Won => Answered::Won(claim.epoch),
                Verdict::Lost { .. } => Answered::Refused,
                Verdict::Unreachable => Answered::Unreachable,
            }
        });
        self.trace(None, || {
            format!("= the arbiter hears {who}, which wants a pair: {answer:?}")
        });
        let answer = if unreachable {
            Answered::Unreachable
        } else {
            answer
        };
        let at = answers.unwrap_or(self.now.after(limits::CLAIM_ANSWER));
        self.schedule(at, What::Answered(who, answer));
    }

    /// The claim of a start by this process; `None`: another process owns the guest. An owner that has ended
    /// without a word is vouched for by its host, or by a person, but not once the guest has lived: a start
    /// would begin it anew.
    fn start_claim(&self, who: ProcessId) -> Option<Claim> {
        let owner = self.process(who).owner;
        let last = self.arbiter.last();
        let may_live = |owner: u128| {
            let mut processes = self.processes.iter();
            !self.is_forming() || processes.any(|process| process.owner == owner && process.is_alive())
        };
        let is_open = last.is_some_and(|(_, last, is_closed)| !is_closed && last != owner && may_live(last));
        let claim = Claim {
            epoch: last.map_or(Epoch(0), |(epoch, ..)| epoch).next(),
            owner,
            after: None,
            heirs: Vec::new(),
            kind: ClaimKind::Start,
        };
        (!is_open).then_some(claim)
    }

    /// The arbiter's answer reaches a primary, which locks its disk under what it has won.
    pub(crate) fn on_answered(&mut self, who: ProcessId, answer: Answered) {
        if let Life::Stalled { until } = self.process(who).life {
            self.schedule(until, What::Answered(who, answer));
            return;
        }
        let candidate = self.processes[who].candidate.as_mut();
        let Some(caller) = candidate.and_then(|candidate| candidate.caller.as_mut()) else {
            return;
        };
        let event = caller.answered(answer);
        let Some(event) = event else {
            self.end_candidate(who, "another process has the guest");
            return;
        };
        match answer {
            Answered::Won(epoch) if self.storage.writer() > epoch => {
                self.end_candidate(who, "the disk is locked for a later epoch");
            }
            Answered::Won(epoch) => {
                let at = self.storage.raise(&mut self.random, self.now, epoch);
                self.storage_appointment(at);
                self.schedule(at.after(Span::from_us(1)), What::Handshake(who, event));
            }
            Answered::Refused | Answered::Unreachable => self.on_handshake(who, event),
        }
    }

    /// The handshake of a process is over, and it is one half of a pair.
    fn become_half(&mut self, who: ProcessId, start: &Start, (primary, backup): (u128, u128)) {
        let Some(candidate) = self.processes[who].candidate.take() else {
            return;
        };
        let Some((_, other)) = self.peer(who, candidate.peer) else {
            return;
        };
        let epoch = start.epoch;
        let is_primary = candidate.caller.is_some();
        let (options, config, now) = (&self.options, &self.config, self.now);
        let process = &mut self.processes[who];
        process.greeting = None;
        (process.epoch, process.primary, process.backup) = (epoch, primary, backup);
        process.follows = (!is_primary).then_some(other);
        process.peer = candidate.peer;
        process.boot(options, config, now);
        let result = if is_primary {
            if self.checks.single.on_form(who, epoch) {
                self.attached = who;
            }
            ensure(self.checks.guard.is_ready(other, who), Check::Guard, || {
                format!("{who} begins its guest though {other} has not said that it is ready")
            })
        } else {
            self.checks.single.on_join(who, epoch);
            let is_shared = self.arbiter.owner(who, epoch) == Some(primary);
            ensure(is_shared, Check::Guard, || {
                format!(
                    "{who} is a backup in epoch {}, which its arbiter does not know",
                    epoch.0
                )
            })
        };
        self.judge(result);
        self.turn_at(who, self.now);
    }

    /// A handshake has come to nothing: the backup waits for the next caller, the primary calls again or
    /// ends.
    fn on_failed(&mut self, who: ProcessId, failure: &Failure) {
        let process = &mut self.processes[who];
        process.greeting = None;
        let Some(candidate) = &process.candidate else {
            return;
        };
        let (peer, is_primary) = (candidate.peer, candidate.caller.is_some());
        self.hang_up(who, peer);
        if is_primary && Caller::calls_again(failure) {
            self.call_again(who, &failure.to_string());
        } else if is_primary {
            self.end_candidate(who, &failure.to_string());
        }
    }

    /// A process that was to be one half of a pair ends, and gives up what it may own.
    pub(crate) fn end_candidate(&mut self, who: ProcessId, why: &str) {
        let process = &mut self.processes[who];
        let Some(candidate) = process.candidate.take() else {
            return;
        };
        process.greeting = None;
        process.inbox.clear();
        process.life = Life::Halted(Halt::Abandoned(why.to_owned()));
        let host = process.host;
        self.trace(Some(who), || format!("= ends: {why}"));
        self.hang_up(who, candidate.peer);
        self.storage.caches().close(host);
        let fate = self.arbiter.ask(&mut self.random, self.now);
        if let (Some(caller), Some(at)) = (candidate.caller, fate.takes) {
            self.schedule(at, What::GivenUp(who, caller.may_own()));
        }
    }

    /// The arbiter hears of a process that has ended, and keeps nothing open for it: else the guest could be
    /// started on no other host.
    pub(crate) fn on_given_up(&mut self, who: ProcessId, owns: MayOwn) {
        let owner = self.process(who).owner;
        let newest = self.arbiter.last().filter(|(_, last, _)| *last == owner);
        let epoch = match owns {
            MayOwn::Nothing => None,
            MayOwn::Epoch(epoch) => Some(epoch),
            MayOwn::Unknown => newest.map(|(epoch, ..)| epoch),
        };
        if let Some(epoch) = epoch {
            self.trace(None, || {
                format!("= the arbiter hears that {who} gives up epoch {}", epoch.0)
            });
            self.arbiter.close(epoch, owner);
        }
        let newest = self.arbiter.last().filter(|(_, last, _)| *last == owner);
        let is_open = newest.is_some_and(|(.., is_closed)| !is_closed);
        self.judge(ensure(!is_open, Check::Liveness, || {
            format!("{who} has ended without a pair, and its epoch is open")
        }));
    }
}
