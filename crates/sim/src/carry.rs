//! What becomes of a node's actions: each is judged when the node hands it out, and then carried out.
//!
//! `turns.rs` comes here at the end of each slice. A process may die before any of its actions, or stand
//! still with one in its hand and carry it out much later; so an action is judged by what is true when it is
//! handed out, and must never be judged again when it is carried out.

use machine::{Effect, Input};
use replica::limits::LEASE_MARGIN_PART;
use replica::peer::message::Message;
use replica::{
    Action, Claim, ClaimKind, Epoch, Event, Guest, PeerId, RoleName, Span, Suspicion, Time, Verdict,
};

use toy_outside::{names::ProcessId, network::Arrival, operation::changes};

use crate::{
    checker::{Check, Violation, ensure},
    faults::{Fault, Trigger},
    process::Process,
    schedule::What,
    subject::{Subject, hash_of, unstamp},
    trace,
    world::World,
};

/// A node that hands out so many actions without a pause has no end of them.
const ACTIONS_MAX: usize = 100_000;

impl<G: Subject> World<G> {
    /// Carries out what the node wants, until it wants nothing more. False if the process is not running
    /// afterwards.
    pub(crate) fn carry_all(&mut self, who: ProcessId) -> bool {
        if let Some(action) = self.processes[who].in_hand.take() {
            self.carry_out(who, action);
        }
        for _ in 0..ACTIONS_MAX {
            let process = &mut self.processes[who];
            if !process.is_running() || self.violation.is_some() {
                return false;
            }
            let local = process.clock.shows(self.now);
            let Some(action) = process.node.as_mut().and_then(|node| node.poll(local)) else {
                return true;
            };
            process.actions += 1;
            let number = process.actions;
            let verdict = self.judge_action(who, &action);
            self.judge(verdict);
            match self.triggered(who, Trigger::Action(number)) {
                Some(Fault::Crash(_, death)) => self.crash(who, death),
                Some(Fault::Stall(_, span)) => {
                    self.trace(Some(who), || {
                        format!("! stands still, in its hand {}", trace::action(&action))
                    });
                    self.processes[who].in_hand = Some(action);
                    self.stall(who, span);
                }
                _ => self.carry_out_and_perhaps_die(who, action),
            }
        }
        self.judge(Err(Violation::new(
            Check::Sanity,
            format!("{who} has no end of actions"),
        )));
        false
    }

    fn carry_out_and_perhaps_die(&mut self, who: ProcessId, action: Action) {
        let deed = matches!(
            action,
            Action::Release(_) | Action::Entropy { .. } | Action::Disk(_)
        );
        self.carry_out(who, action);
        if deed {
            let process = &mut self.processes[who];
            process.deeds += 1;
            let number = process.deeds;
            if let Some(Fault::Crash(_, death)) = self.triggered(who, Trigger::Deed(number)) {
                self.crash(who, death);
            }
        }
    }

    /// May the node do this, now?
    fn judge_action(&mut self, who: ProcessId, action: &Action) -> Result<(), Violation> {
        match action {
            Action::Send(peer, bytes) => {
                if let Ok(Message::Taken(epoch)) = Message::decode(bytes)
                    && self.arbiter.owner(who, epoch) == Some(self.processes[who].owner)
                {
                    self.take_over_from_heir(who, epoch);
                }
                self.tell_guard(who, *peer, bytes)?;
                self.judge_word(who, *peer, action)
            }
            Action::Heartbeat(peer, _) => self.judge_word(who, *peer, action),
            Action::Bulk(peer, bulk) => self.judge_bulk(who, *peer, bulk),
            Action::Append(_)
            | Action::Notice(..)
            | Action::Check(..)
            | Action::Supply { .. }
            | Action::HangUp(_)
            | Action::StandBy { .. }
            | Action::Drop(_)
            | Action::Tell(_) => Ok(()),
            Action::Snapshot(piece) => self.judge_snapshot(who, piece),
            // Not an output: it comes back only through the log, and a process whose lease is over does no
            // harm.
            Action::Entropy { .. } => Ok(()),
            Action::Release(shown) => {
                self.judge_effect(who, "shows an output")?;
                let tape = self.processes[who].tape.borrow();
                self.checks
                    .guard
                    .may_show(who, &Effect::from(shown.clone()), &tape)
            }
            Action::Disk(request) => {
                self.judge_quiet(who)?;
                if changes(&request.operation) {
                    self.judge_effect(who, "writes to the disk")?;
                }
                let checks = &mut self.checks;
                let tape = self.processes[who].tape.borrow();
                if changes(&request.operation) {
                    checks
                        .guard
                        .may_show(who, &Effect::Disk(request.clone()), &tape)?;
                }
                checks.disk.on_issue(who, request, &tape)
            }
            Action::Ask(claim) => self.judge_claim(who, claim),
            Action::GoLive(epoch) => {
                let owned = self.arbiter.owner(who, *epoch) == Some(self.processes[who].owner);
                let heirs = self.owning(self.arbiter.heirs(who, *epoch));
                let checks = &mut self.checks;
                checks.guard.on_go_live(who, &heirs);
                checks.single.on_go_live(who, *epoch, owned)
            }
            Action::Halt(halt) => self.judge_halt(who, halt),
        }
    }

    /// The processes that are these owners at their arbiters.
    fn owning(&self, owners: &[u128]) -> Vec<ProcessId> {
        let is_owner = |name: &ProcessId| owners.contains(&self.processes[*name].owner);
        self.processes.names().filter(is_owner).collect()
    }

    /// May a process ask the arbiter for this, now?
    fn judge_claim(&mut self, who: ProcessId, claim: &Claim) -> Result<(), Violation> {
        let told = self.role_suspects_left(who) || self.is_lease_void(who);
        let lease = Span(self.options.timeout.0 - self.options.timeout.0 / LEASE_MARGIN_PART);
        let process = &self.processes[who];
        let (owner, joined, follows) = (process.owner, process.joined, process.follows);
        let before = Epoch(claim.epoch.0 - 1);
        let is_owner = self.arbiter.owner(who, before) == Some(owner);
        if is_owner || self.arbiter.heirs(who, before).contains(&owner) {
            self.checks.single.on_heir(who, before);
        }
        // It asks the same again until it is answered, whatever has become of the heirs.
        if claim.kind == ClaimKind::Resolve && self.processes[who].resolving != Some(claim.epoch) {
            self.processes[who].resolving = Some(claim.epoch);
            for heir in self.owning(&claim.heirs) {
                self.checks.guard.may_ask(heir)?;
            }
        }
        let checks = &mut self.checks;
        if joined {
            checks.guard.may_ask(who)?;
        }
        // Whoever has the epoch before follows nobody any more.
        if let Some(primary) = follows.filter(|_| !is_owner)
            && !self.options.deaf
            && !told
        {
            let clock = self.processes[primary].clock;
            let over = |echo: Time| clock.when(echo.after(lease));
            checks.single.may_ask(who, self.now, over)?;
        }
        checks.single.on_ask(who, claim.epoch, claim.kind)?;
        ensure(claim.owner == owner, Check::SinglePrimary, || {
            format!("{who} asks for {claim:?}")
        })
    }

    /// A message goes from an owner to a process that joins its guest: the checker reads it.
    ///
    /// # Errors
    /// If it makes a process a member of an epoch that may be over: that could not go on.
    fn tell_guard(&mut self, who: ProcessId, peer: PeerId, bytes: &[u8]) -> Result<(), Violation> {
        if let Some((_, to)) = self.peer(who, peer) {
            let tape = self.processes[who].tape.borrow();
            let number = self.processes[to].owner;
            let guards = self.checks.guard.on_send(who, (to, number), bytes, &tape);
            if let Some(epoch) = guards {
                self.checks.single.on_member(who, epoch);
                let resolving = self.processes[who].resolving;
                ensure(resolving <= Some(epoch), Check::Guard, || {
                    format!(
                        "{who} has a member in epoch {}, and has asked for the next one",
                        epoch.0
                    )
                })?;
            }
        }
        Ok(())
    }

    /// A process looks at a message of the process that it follows, which may make it a member of an epoch.
    pub(crate) fn read_for_guard(&mut self, who: ProcessId, bytes: &[u8]) {
        // A node that claims, or has halted, of which the world hears in a moment, reads nothing any more.
        if matches!(self.role(who), Some(RoleName::Halted | RoleName::Claiming)) {
            return;
        }
        if let Some(epoch) = self.checks.guard.on_receive(who, bytes) {
            // It may have an epoch of its own by now, and takes no notice of an earlier one.
            let known = &mut self.processes[who].epoch;
            *known = epoch.max(*known);
            self.checks.single.on_heir(who, epoch);
        }
    }

    /// May a process say this to a peer?
    fn judge_word(&mut self, who: ProcessId, peer: PeerId, action: &Action) -> Result<(), Violation> {
        // Whatever an owner says to a process that is no member yet is no part of the pair's talk.
        let is_apprentice = self.peer(who, peer).is_some_and(|(_, to)| {
            self.process(to).follows == Some(who) && !self.checks.guard.counts_on(who, to)
        });
        if self.options.deaf || is_apprentice {
            return Ok(());
        }
        self.checks.single.on_say(who, action);
        self.checks.single.may_say(who)
    }

    /// May a process do what the outside can see?
    fn judge_effect(&self, who: ProcessId, what: &str) -> Result<(), Violation> {
        let process = self.process(who);
        let next = self.arbiter.owner(who, Epoch(process.epoch.0 + 1));
        let superseded = next.is_some_and(|next| next != process.owner);
        self.checks.single.may_show(who, superseded, what)
    }

    /// Does the node of a process ask for the VM because its peer has left it?
    fn role_suspects_left(&self, who: ProcessId) -> bool {
        let node = self.processes[who].node.as_ref();
        node.is_some_and(|node| node.metrics().suspicion == Some(Suspicion::Left))
    }

    fn carry_out(&mut self, who: ProcessId, action: Action) {
        self.trace(Some(who), || trace::action(&action));
        match action {
            Action::Send(peer, bytes) => self.send(who, peer, bytes.to_vec()),
            Action::Heartbeat(peer, bytes) => self.send_heartbeat(who, peer, &bytes),
            Action::Notice(peer, bytes) => self.leave_notice(who, peer, bytes.to_vec()),
            Action::Check(epoch, _) => self.check(who, epoch),
            Action::Supply { peer, .. } => self.open_bulk(who, peer),
            Action::Bulk(peer, bulk) => self.send_bulk(who, peer, bulk),
            Action::HangUp(peer) => self.hang_up(who, peer),
            Action::Drop(peer) => self.drop_links(who, peer),
            Action::Snapshot(piece) => self.take_piece(who, &piece),
            Action::Tell(news) => self.on_news(who, &news),
            Action::Append(bytes) => self.processes[who].file.extend_from_slice(&bytes),
            Action::Release(shown) => self.show(who, shown.into()),
            Action::Entropy { bytes } => {
                let process = &mut self.processes[who];
                process.wished += usize::from(process.follows.is_some());
                process.wishes = process.wishes.saturating_sub(1);
                self.bring_entropy(who, bytes);
            }
            Action::Disk(request) => {
                let Process { epoch, host, .. } = self.processes[who];
                let at = self
                    .storage
                    .issue(&mut self.random, self.now, (who, host), epoch, request);
                self.storage_appointment(at);
            }
            Action::Ask(claim) => self.ask(who, claim),
            Action::GoLive(epoch) => {
                self.tell_of_going_live(who);
                let process = &mut self.processes[who];
                process.epoch = epoch;
                process.partner = process.follows.or(process.partner);
                if let (Some(_), Some(node)) = (process.follows.take(), &process.node) {
                    let wishes = node.guest().pending_entropy().len();
                    process.wishes = wishes.saturating_sub(process.wished);
                }
                self.attached = who;
                let host = self.processes[who].host;
                self.storage.caches().on_go_live(host);
                let at = self.storage.raise(&mut self.random, self.now, epoch);
                self.storage_appointment(at);
            }
            Action::StandBy { peer, owner, epoch } => self.stand_by(who, peer, (owner, epoch)),
            Action::Halt(halt) => self.halt(who, halt),
        }
    }

    /// The agent of a host hears that a process there has taken the guest over, or goes on without its
    /// backup.
    fn tell_of_going_live(&mut self, who: ProcessId) {
        let node = self.processes[who].node.as_ref();
        let suspicion = node.and_then(|node| node.metrics().suspicion);
        let news = match (self.processes[who].follows, suspicion) {
            (None, Some(why)) => toy_site::News::Alone(why.into()),
            _ => toy_site::News::TookOver,
        };
        self.tell_agent(who, &news);
    }

    /// A process that has handed its guest over follows the process that has it now.
    fn stand_by(&mut self, who: ProcessId, peer: PeerId, (primary, epoch): (u128, Epoch)) {
        let owner = self.peer(who, peer).map(|(_, owner)| owner);
        let process = &mut self.processes[who];
        process.follows = owner;
        process.wished = 0;
        process.primary = primary;
        process.epoch = epoch;
        self.checks.single.on_join(who, epoch);
        self.checks.outputs.on_stand_by(who);
    }

    /// A process has the guest in this epoch, and the one that handed it over is a member there.
    fn take_over_from_heir(&mut self, who: ProcessId, epoch: Epoch) {
        let process = &mut self.processes[who];
        let Some(heir) = process.follows.take() else {
            return;
        };
        let wishes = process.node.as_ref().map(|node| node.guest().pending_entropy());
        process.wishes = wishes.unwrap_or_default().len();
        self.checks.single.on_join(who, epoch);
        self.checks.guard.on_go_live(who, &[]);
        // A process that stood still while the heir went on in a later epoch has no member in it.
        if self.processes[heir].epoch < epoch {
            let tape = self.processes[who].tape.borrow();
            self.checks.guard.on_heir(heir, who, &tape);
        }
    }

    /// A message goes on its way to a peer.
    pub(crate) fn send(&mut self, who: ProcessId, peer: PeerId, bytes: Vec<u8>) {
        let message = Arrival::Message(bytes);
        if let Some((link, to)) = self.peer(who, peer)
            && let Some(at) = self.network.send(&mut self.random, self.now, (link, to), message)
        {
            self.link_appointment(link, to, at);
        }
    }

    fn send_heartbeat(&mut self, who: ProcessId, peer: PeerId, bytes: &[u8]) {
        if let Some((link, to)) = self.peer(who, peer)
            && self.processes[to].no_heartbeats <= self.now
            && let Some(from) = self.processes[to].peer_on(link)
        {
            for at in self.options.heartbeats.arrivals(&mut self.random, self.now) {
                self.schedule(at, What::Deliver(to, Event::Heartbeat(from, bytes.to_vec())));
            }
        }
    }

    fn ask(&mut self, who: ProcessId, claim: Claim) {
        let fate = self.arbiter.ask(&mut self.random, self.now);
        if let Some(at) = fate.takes {
            let question = What::Arbiter {
                who,
                claim,
                answers: fate.answers,
                unreachable: fate.unreachable,
            };
            self.schedule(at, question);
        } else if let Some(at) = fate.answers {
            self.schedule(
                at,
                What::Deliver(who, Event::Verdict(claim, Verdict::Unreachable)),
            );
        }
    }

    fn bring_entropy(&mut self, who: ProcessId, bytes: u32) {
        let bytes = (0..bytes).map(|_| self.random.draw() as u8).collect();
        let at = self
            .now
            .after(self.random.span(Span::from_us(1), self.options.entropy));
        self.schedule(at, What::Deliver(who, Event::Input(Input::Entropy { bytes })));
    }

    /// An output becomes visible.
    fn show(&mut self, who: ProcessId, mut effect: Effect) {
        let number = unstamp(&mut effect);
        let is_off = matches!(effect, Effect::PoweredOff(_));
        let (number, own, made_at) = {
            let tape = self.processes[who].tape.borrow();
            // A power-off has no room for a stamp. It is the guest's last output, so its number is the last
            // one.
            let number = number.unwrap_or(tape.shown.len() as u64);
            let index = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
            let own = tape.shown.get(index).copied();
            (number, own, tape.shown_at.get(index).copied())
        };
        let result = self
            .checks
            .outputs
            .on_release(who, number, hash_of(&effect), own, is_off);
        self.judge(result);
        if let Some(ticks) = made_at {
            let fastest = self.fastest_clock();
            let result = self.checks.time.on_show(who, number, ticks, fastest);
            self.judge(result);
        }
        if self.host_of(who).ports_lost > self.now {
            return;
        }
        if let Some((seq, content)) = G::reply(&effect) {
            for at in self.options.frames.arrivals(&mut self.random, self.now) {
                self.schedule(at, What::ToClient(seq, content.clone()));
            }
        }
    }
}
