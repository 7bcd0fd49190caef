//! What becomes of a node's actions: each is judged when the node hands it out, and then carried out.
//!
//! `turns.rs` comes here at the end of each slice. A process may die before any of its actions, or stand
//! still with one in its hand and carry it out much later; so an action is judged by what is true when it is
//! handed out, and must never be judged again when it is carried out.

use std::sync::atomic::AtomicBool;

use machine::{Effect, Input};
use replica::limits::LEASE_MARGIN_PART;
use replica::{
    Action, Claim, ClaimKind, Epoch, Event, Guest, Halt, Next, PeerId, Span, Suspicion, Time, Verdict,
};
use toy::hash::mix;

use crate::{
    checker::{Check, Violation, ensure},
    faults::{Fault, Trigger},
    names::ProcessId,
    operation::changes,
    process::{Life, Process},
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
        let checks = &mut self.checks;
        match action {
            Action::Send(..) | Action::Heartbeat(..) if self.options.deaf => Ok(()),
            Action::Send(..) | Action::Heartbeat(..) => {
                checks.single.on_say(who, action);
                checks.single.may_say(who)
            }
            Action::Append(_)
            | Action::Notice(..)
            | Action::Check(..)
            | Action::Supply { .. }
            | Action::Bulk(..)
            | Action::HangUp(_)
            | Action::Tell(_) => Ok(()),
            // Not an output: it comes back only through the log, and a process whose lease is over does no
            // harm.
            Action::Entropy { .. } => Ok(()),
            Action::Release(_) => self.judge_effect(who, "shows an output"),
            Action::Disk(request) => {
                if changes(&request.operation) {
                    self.judge_effect(who, "writes to the disk")?;
                }
                let checks = &mut self.checks;
                let tape = self.processes[who].tape.borrow();
                checks.disk.on_issue(who, request, &tape)
            }
            Action::Ask(claim) => {
                let told = self.role_suspects_left(who);
                let lease = Span(self.options.timeout.0 - self.options.timeout.0 / LEASE_MARGIN_PART);
                let process = &self.processes[who];
                let (owner, follows) = (process.owner, process.follows);
                let checks = &mut self.checks;
                if let Some(primary) = follows
                    && !self.options.deaf
                    && !told
                {
                    let clock = self.processes[primary].clock;
                    let over = |echo: Time| clock.when(echo.after(lease));
                    checks.single.may_ask(who, self.now, over)?;
                }
                checks.single.on_ask(who, claim.epoch)?;
                ensure(claim.owner == owner, Check::SinglePrimary, || {
                    format!("{who} asks for {claim:?}")
                })
            }
            Action::GoLive(epoch) => {
                let owned = self.arbiter.owner(who, *epoch) == Some(self.processes[who].owner);
                checks.single.on_go_live(who, *epoch, owned)
            }
            Action::Halt(halt) => self.judge_halt(who, halt),
        }
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

    fn judge_halt(&self, who: ProcessId, halt: &Halt) -> Result<(), Violation> {
        match halt {
            Halt::Off(_) => {
                let tape = self.processes[who].tape.borrow();
                let is_off = tape
                    .effects
                    .iter()
                    .rev()
                    .any(|at| matches!(at.what, Effect::PoweredOff(_)));
                ensure(is_off, Check::Halt, || {
                    format!("{who} halts as off though its guest is not")
                })
            }
            Halt::Lost(epoch) => {
                let owner = self.arbiter.owner(who, *epoch);
                let other = owner.is_some_and(|owner| owner != self.processes[who].owner);
                ensure(other, Check::Halt, || {
                    format!("{who} halts for epoch {}, which nobody else has", epoch.0)
                })
            }
            Halt::Diverged { at, part } => {
                let what = format!("{who} says it diverged at step {at} in {part}");
                Err(Violation::new(Check::Lockstep, what))
            }
            Halt::Abandoned(_) | Halt::Left | Halt::Dismissed => {
                ensure(self.processes[who].told_to_leave, Check::Halt, || {
                    format!("{who} leaves though nobody wanted it to")
                })
            }
            Halt::Peer(why) => Err(Violation::new(
                Check::Sanity,
                format!("{who} halts over its peer: {why}"),
            )),
        }
    }

    fn carry_out(&mut self, who: ProcessId, action: Action) {
        self.trace(Some(who), || trace::action(&action));
        match action {
            Action::Send(_, bytes) => {
                if let Some((link, to)) = self.peer(who)
                    && let Some(at) =
                        self.network
                            .send(&mut self.random, self.now, (link, to), bytes.to_vec())
                {
                    self.link_appointment(link, to, at);
                }
            }
            Action::Heartbeat(_, bytes) => self.send_heartbeat(who, &bytes),
            // Nobody joins a guest that runs here, so there are no clones.
            Action::Notice(..)
            | Action::Check(..)
            | Action::Supply { .. }
            | Action::Bulk(..)
            | Action::HangUp(_)
            | Action::Tell(_) => {}
            Action::Append(bytes) => self.processes[who].file.extend_from_slice(&bytes),
            Action::Release(shown) => self.show(who, shown.into()),
            Action::Entropy { bytes } => self.bring_entropy(who, bytes),
            Action::Disk(request) => {
                let Process { epoch, host, .. } = self.processes[who];
                let at = self
                    .storage
                    .issue(&mut self.random, self.now, (who, host), epoch, request);
                self.storage_appointment(at);
            }
            Action::Ask(claim) => self.ask(who, claim),
            Action::GoLive(epoch) => {
                self.processes[who].epoch = epoch;
                self.attached = who;
                let host = self.processes[who].host;
                self.storage.caches().on_go_live(host);
                let at = self.storage.raise(&mut self.random, self.now, epoch);
                self.storage_appointment(at);
            }
            Action::Halt(halt) => self.halt(who, halt),
        }
    }

    fn send_heartbeat(&mut self, who: ProcessId, bytes: &[u8]) {
        if let Some((_, to)) = self.peer(who)
            && self.processes[to].no_heartbeats <= self.now
        {
            for at in self.options.heartbeats.arrivals(&mut self.random, self.now) {
                self.schedule(at, What::Deliver(to, Event::Heartbeat(PeerId(0), bytes.to_vec())));
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
            .after(self.random.span(Span::from_us(1), Span::from_ms(1)));
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

    /// A process ends itself. Its node must do nothing more from here on, whatever events it is given.
    fn halt(&mut self, who: ProcessId, halt: Halt) {
        for link in self.network.links_of(who) {
            let other = self.network.other_end(link, who);
            let under_way = self.network.under_way(link, other);
            self.close_link(link, other, under_way, Some(Span::from_us(100)));
            self.close_link(link, who, 0, None);
        }
        let process = &mut self.processes[who];
        process.life = Life::Halted(halt);
        process.inbox.clear();
        self.storage.caches().close(process.host);
        let claim = Claim {
            epoch: Epoch(process.epoch.0 + 1),
            owner: process.owner,
            after: Some(process.primary),
            heirs: Vec::new(),
            kind: ClaimKind::Failover,
        };
        let events = [
            Event::LinkLost(PeerId(0)),
            Event::Verdict(claim.clone(), Verdict::Won),
            Event::Verdict(claim, Verdict::Unreachable),
            Event::Peer(PeerId(0), vec![16, 1, 2, 3]),
            Event::Heartbeat(PeerId(0), mix(1, 2).to_le_bytes().to_vec()),
            Event::Input(Input::Console {
                port: 0,
                bytes: vec![1],
            }),
        ];
        let local = process.clock.shows(self.now);
        let Some(node) = &mut process.node else {
            return;
        };
        let step = node.guest().now();
        let mut dead = true;
        process.fuel.set(u64::MAX);
        for (index, event) in events.into_iter().enumerate() {
            let later = Time(local.0 + index as u64 * self.options.timeout.0);
            node.handle(later, event);
            dead &= node.slice(later, &AtomicBool::new(false)) == Next::Ended && node.poll(later).is_none();
        }
        dead &= node.guest().now() == step;
        self.judge(ensure(dead, Check::Halt, || {
            format!("{who} does something after it halted")
        }));
    }
}
