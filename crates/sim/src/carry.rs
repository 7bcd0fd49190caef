//! What becomes of a node's actions: each is judged when the node hands it out, and then carried out.
//!
//! `turns.rs` comes here at the end of each slice. A process may die before any of its actions, or stand
//! still with one in its hand and carry it out much later; so an action is judged by what is true when it is
//! handed out, and must never be judged again when it is carried out.

use std::sync::atomic::AtomicBool;

use machine::{Effect, Input};
use replica::limits::LEASE_MARGIN_PART;
use replica::{Action, Claim, ClaimKind, Event, Guest, Halt, Next, PeerId, Span, Suspicion, Time, Verdict};
use toy::hash::mix;

use crate::{
    checker::{Check, Violation, ensure},
    faults::{Fault, Trigger},
    operation::changes,
    pair::{PAIR, SideName},
    process::Life,
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
    pub(crate) fn carry_all(&mut self, side: SideName) -> bool {
        if let Some(action) = self.processes[side.index()].in_hand.take() {
            self.carry_out(side, action);
        }
        for _ in 0..ACTIONS_MAX {
            let process = &mut self.processes[side.index()];
            if !process.is_running() || self.violation.is_some() {
                return false;
            }
            let local = process.clock.shows(self.now);
            let Some(action) = process.node.as_mut().and_then(|node| node.poll(local)) else {
                return true;
            };
            process.actions += 1;
            let number = process.actions;
            let verdict = self.judge_action(side, &action);
            self.judge(verdict);
            match self.triggered(side, Trigger::Action(number)) {
                Some(Fault::Crash(_, death)) => self.crash(side, death),
                Some(Fault::Stall(_, span)) => {
                    self.trace(Some(side), || {
                        format!("! stands still, in its hand {}", trace::action(&action))
                    });
                    self.processes[side.index()].in_hand = Some(action);
                    self.stall(side, span);
                }
                _ => self.carry_out_and_perhaps_die(side, action),
            }
        }
        self.judge(Err(Violation::new(
            Check::Sanity,
            format!("{side} has no end of actions"),
        )));
        false
    }

    fn carry_out_and_perhaps_die(&mut self, side: SideName, action: Action) {
        let deed = matches!(
            action,
            Action::Release(_) | Action::Entropy { .. } | Action::Disk(_)
        );
        self.carry_out(side, action);
        if deed {
            let process = &mut self.processes[side.index()];
            process.deeds += 1;
            let number = process.deeds;
            if let Some(Fault::Crash(_, death)) = self.triggered(side, Trigger::Deed(number)) {
                self.crash(side, death);
            }
        }
    }

    /// May the node do this, now?
    fn judge_action(&mut self, side: SideName, action: &Action) -> Result<(), Violation> {
        let checks = &mut self.checks;
        match action {
            Action::Send(..) | Action::Heartbeat(..) if self.options.deaf => Ok(()),
            Action::Send(..) | Action::Heartbeat(..) => {
                checks.single.on_say(side, action);
                checks.single.may_say(side)
            }
            Action::Append(_) | Action::Notice(..) => Ok(()),
            // Not an output: it comes back only through the log, and a side whose lease is over does no harm.
            Action::Entropy { .. } => Ok(()),
            Action::Release(_) => checks.single.may_show(side, "shows an output"),
            Action::Disk(request) => {
                if changes(&request.operation) {
                    checks.single.may_show(side, "writes to the disk")?;
                }
                let tape = self.processes[side.index()].tape.borrow();
                checks.disk.on_issue(side, request, &tape)
            }
            Action::Ask(claim) => {
                let told = self.role_suspects_left(side);
                let lease = Span(self.options.timeout.0 - self.options.timeout.0 / LEASE_MARGIN_PART);
                let primary = self.processes[SideName::A.index()].clock;
                let checks = &mut self.checks;
                if side == SideName::B && !self.options.deaf && !told {
                    let over = |echo: Time| primary.when(echo.after(lease));
                    checks.single.may_ask(self.now, over)?;
                }
                checks.single.on_ask(side);
                let owner = self.processes[side.index()].owner;
                ensure(
                    claim.owner == owner && claim.epoch.0 == PAIR.0 + 1,
                    Check::SinglePrimary,
                    || format!("{side} asks for {claim:?}"),
                )
            }
            Action::GoLive(epoch) => {
                let owned = self.arbiter.owner(side, *epoch) == Some(self.processes[side.index()].owner);
                checks.single.on_go_live(side, *epoch, PAIR, owned)
            }
            Action::Halt(halt) => self.judge_halt(side, halt),
        }
    }

    /// Does the node of a side ask for the VM because the other side has left it?
    fn role_suspects_left(&self, side: SideName) -> bool {
        let node = self.processes[side.index()].node.as_ref();
        node.is_some_and(|node| node.metrics().suspicion == Some(Suspicion::Left))
    }

    fn judge_halt(&self, side: SideName, halt: &Halt) -> Result<(), Violation> {
        match halt {
            Halt::Off(_) => {
                let tape = self.processes[side.index()].tape.borrow();
                let is_off = tape
                    .effects
                    .iter()
                    .rev()
                    .any(|at| matches!(at.what, Effect::PoweredOff(_)));
                ensure(is_off, Check::Halt, || {
                    format!("{side} halts as off though its guest is not")
                })
            }
            Halt::Lost(epoch) => {
                let owner = self.arbiter.owner(side, *epoch);
                let other = owner.is_some_and(|owner| owner != self.processes[side.index()].owner);
                ensure(other, Check::Halt, || {
                    format!("{side} halts for epoch {}, which nobody else has", epoch.0)
                })
            }
            Halt::Diverged { at, part } => {
                let what = format!("{side} says it diverged at step {at} in {part}");
                Err(Violation::new(Check::Lockstep, what))
            }
            Halt::Left => ensure(self.processes[side.index()].told_to_leave, Check::Halt, || {
                format!("{side} leaves though nobody wanted it to")
            }),
            Halt::Peer(why) => Err(Violation::new(
                Check::Sanity,
                format!("{side} halts over its peer: {why}"),
            )),
        }
    }

    fn carry_out(&mut self, side: SideName, action: Action) {
        self.trace(Some(side), || trace::action(&action));
        match action {
            Action::Send(_, bytes) => {
                let to = side.other();
                if let Some(at) = self.link.send(&mut self.random, self.now, to, bytes.to_vec()) {
                    self.link_appointment(to, at);
                }
            }
            Action::Heartbeat(_, bytes) if self.no_heartbeats[side.other().index()] <= self.now => {
                for at in self.options.heartbeats.arrivals(&mut self.random, self.now) {
                    self.schedule(
                        at,
                        What::Deliver(side.other(), Event::Heartbeat(PeerId(0), bytes.to_vec())),
                    );
                }
            }
            Action::Heartbeat(..) | Action::Notice(..) => {}
            Action::Append(bytes) => self.processes[side.index()].file.extend_from_slice(&bytes),
            Action::Release(shown) => self.show(side, shown.into()),
            Action::Entropy { bytes } => self.bring_entropy(side, bytes),
            Action::Disk(request) => {
                let epoch = self.processes[side.index()].epoch;
                let at = self
                    .storage
                    .issue(&mut self.random, self.now, side, epoch, request);
                self.storage_appointment(at);
            }
            Action::Ask(claim) => self.ask(side, claim),
            Action::GoLive(epoch) => {
                self.processes[side.index()].epoch = epoch;
                self.attached = side;
                self.storage.caches().on_go_live(side);
                let at = self.storage.raise(&mut self.random, self.now, epoch);
                self.storage_appointment(at);
            }
            Action::Halt(halt) => self.halt(side, halt),
        }
    }

    fn ask(&mut self, side: SideName, claim: Claim) {
        let fate = self.arbiter.ask(&mut self.random, self.now);
        if let Some(at) = fate.takes {
            let question = What::Arbiter {
                side,
                claim,
                answers: fate.answers,
                unreachable: fate.unreachable,
            };
            self.schedule(at, question);
        } else if let Some(at) = fate.answers {
            self.schedule(
                at,
                What::Deliver(side, Event::Verdict(claim, Verdict::Unreachable)),
            );
        }
    }

    fn bring_entropy(&mut self, side: SideName, bytes: u32) {
        let bytes = (0..bytes).map(|_| self.random.draw() as u8).collect();
        let at = self
            .now
            .after(self.random.span(Span::from_us(1), Span::from_ms(1)));
        self.schedule(at, What::Deliver(side, Event::Input(Input::Entropy { bytes })));
    }

    /// An output becomes visible.
    fn show(&mut self, side: SideName, mut effect: Effect) {
        let number = unstamp(&mut effect);
        let is_off = matches!(effect, Effect::PoweredOff(_));
        let (number, own) = {
            let tape = self.processes[side.index()].tape.borrow();
            // A power-off has no room for a stamp. It is the guest's last output, so its number is the last
            // one.
            let number = number.unwrap_or(tape.shown.len() as u64);
            (
                number,
                number
                    .checked_sub(1)
                    .and_then(|index| tape.shown.get(index as usize))
                    .copied(),
            )
        };
        let result = self
            .checks
            .outputs
            .on_release(side, number, hash_of(&effect), own, is_off);
        self.judge(result);
        if self.ports_lost[side.index()] > self.now {
            return;
        }
        if let Some((seq, content)) = G::reply(&effect) {
            for at in self.options.frames.arrivals(&mut self.random, self.now) {
                self.schedule(at, What::ToClient(seq, content.clone()));
            }
        }
    }

    /// A process ends itself. Its node must do nothing more from here on, whatever events it is given.
    fn halt(&mut self, side: SideName, halt: Halt) {
        let under_way = self.link.under_way(side.other());
        self.close_link(side.other(), under_way, Some(Span::from_us(100)));
        self.close_link(side, 0, None);
        let process = &mut self.processes[side.index()];
        process.life = Life::Halted(halt);
        process.inbox.clear();
        self.storage.caches().close(side);
        let process = &mut self.processes[side.index()];
        let claim = Claim {
            epoch: replica::Epoch(PAIR.0 + 1),
            owner: process.owner,
            after: Some(crate::process::owner(self.options.seed, SideName::A)),
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
            format!("{side} does something after it halted")
        }));
    }
}
